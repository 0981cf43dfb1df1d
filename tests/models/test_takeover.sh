#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Takeover: the manager dies at any store, the next one goes on under its readers, by spin. See README.md.
# label: models
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

bounds+='|ATTEMPTS'
sound fence takeover 350000 -DFENCED=1 -DREGISTERED=0
sound membarrier takeover 600000 -DFENCED=0 -DREGISTERED=1
sound two_deaths takeover 1500000 -DDEATHS=2
sound holds takeover 800000 -DHOLDS -DATTEMPTS=3
sound two_sessions takeover 450000 -DREADERS=2 -DATTEMPTS=2 -DFENCED=3 -DDEPTH=1
sound small_ring takeover 190000 -DRING=2
# The version that was found would do as the bound for what is unknown, too.
sound unknown_before_found takeover 350000 -DUNKNOWN_BEFORE_FOUND

broken not_registered takeover -DFENCED=0 -DREGISTERED=0
broken reused_before_adoption takeover -DREUSED_BEFORE_ADOPTION
broken timeout_is_death takeover -DTIMEOUT_IS_DEATH
broken unknown_by_interval takeover -DUNKNOWN_BY_INTERVAL
broken born_at_takeover takeover -DBORN_AT_TAKEOVER
broken ring_free_at_once takeover -DRING_FREE_AT_ONCE
broken cleared_early takeover -DCLEARED_EARLY
broken marked_late takeover -DMARKED_LATE -DDEATHS=2
broken current_before_ring takeover -DCURRENT_BEFORE_RING
broken handed_before_named takeover -DHANDED_BEFORE_NAMED -DREADERS=2 -DATTEMPTS=2 -DFENCED=3 -DDEPTH=1
finish
