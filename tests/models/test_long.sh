#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The models of this folder with wider bounds than a default run can afford, by spin. See README.md.
# label: models long
# serial: yes
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

bounds+='|ENTRIES|DIMENSIONS|ATTEMPTS'
memory_mb=12000 depth_max=20000000 hash_bits=26

sound sections_two_membarrier sections 9000000 -DVERSIONS=3 -DFENCED=0 -DREGISTERED=3
sound sections_four_versions sections 15000000 -DVERSIONS=4 -DFENCED=1 -DREGISTERED=2
sound holds_two_entries holds 6900000 -DVERSIONS=3 -DENTRIES=2 -DDIMENSIONS=1
sound sessions_three_versions sessions 17000000 -DVERSIONS=3 -DDEPTH=2
sound revocation_five_versions revocation 10000000 -DVERSIONS=5
sound takeover_holds takeover 3300000 -DHOLDS -DATTEMPTS=4
sound takeover_two_sessions takeover 4600000 -DREADERS=2 -DATTEMPTS=3 -DFENCED=3 -DDEPTH=1
finish
