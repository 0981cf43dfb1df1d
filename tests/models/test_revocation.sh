#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Revocation: what a lagging reader sees is reused, and the reader is told, by spin. See README.md.
# label: models
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

sound fence revocation 250000 -DFENCED=1 -DREGISTERED=0
sound membarrier revocation 700000 -DFENCED=0 -DREGISTERED=1
sound four_versions revocation 2000000 -DVERSIONS=4 -DFENCED=1 -DREGISTERED=0

broken no_revocation_barrier revocation -DNO_REVOCATION_BARRIER
broken not_told revocation -DNOT_TOLD
broken verdict_without_r revocation -DVERDICT_WITHOUT_R
broken checked_before_reads revocation -DCHECKED_FIRST
broken inner_verdict revocation -DINNER_VERDICT
broken place_given_early revocation -DPLACE_GIVEN_EARLY
broken no_barrier revocation -DFENCED=0 -DREGISTERED=0
finish
