#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sections: the words of ipc/slot.h and a scan of them, by spin. See README.md.
# label: models
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

sound fence sections 30000 -DREADERS=1 -DFENCED=1 -DREGISTERED=0
sound membarrier sections 30000 -DREADERS=1 -DFENCED=0 -DREGISTERED=1
# The manager calls membarrier for all: it must not hurt who has a fence.
sound two_readers sections 2000000 -DVERSIONS=3 -DFENCED=1 -DREGISTERED=2
sound handler_on_its_own_slot sections 100000 -DREADERS=1 -DVERSIONS=3 -DSIGNAL_OWN_SLOT

one=(-DREADERS=1 -DVERSIONS=3)
broken no_barrier sections "${one[@]}" -DFENCED=0 -DREGISTERED=1 -DNO_MEMBARRIER
broken not_registered sections "${one[@]}" -DFENCED=0 -DREGISTERED=0
broken no_manager_fence sections "${one[@]}" -DNO_MANAGER_FENCE
broken no_recheck sections "${one[@]}" -DNO_RECHECK
broken retired_since sections "${one[@]}" -DRETIRED_SINCE
broken retired_early sections "${one[@]}" -DRETIRED_EARLY
broken published_first sections "${one[@]}" -DPUBLISHED_FIRST
broken inner_clears sections "${one[@]}" -DINNER_CLEARS
broken inner_stores sections "${one[@]}" -DINNER_STORES
broken used_late sections "${one[@]}" -DUSED_LATE
broken handler_on_the_same_slot sections "${one[@]}" -DSIGNAL
finish
