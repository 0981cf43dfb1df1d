#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds: taken in a section, kept beyond it, their entries used again, by spin. See README.md.
# label: models
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

bounds+='|ENTRIES|DIMENSIONS'
small=(-DVERSIONS=3)
two=(-DVERSIONS=3 -DENTRIES=2 -DDIMENSIONS=1)

sound fence holds 700000 "${small[@]}" -DFENCED=1 -DREGISTERED=0
sound membarrier holds 1500000 "${small[@]}" -DFENCED=0 -DREGISTERED=1
sound two_entries holds 1000000 "${two[@]}" -DDEPTH=2
# The order of a hold's two words is for what looks at the segment without the rule of sections: a scan
# that can see one of them without the other still has the section's word, or needs neither.
sound dimension_first holds 700000 "${small[@]}" -DDIMENSION_FIRST
sound version_cleared_first holds 600000 "${small[@]}" -DVERSION_CLEARED_FIRST

broken holds_before_words holds "${small[@]}" -DHOLDS_FIRST
broken moved holds "${two[@]}" -DMOVED
broken taken_outside holds "${small[@]}" -DTAKEN_OUTSIDE
broken holds_used_late holds "${small[@]}" -DHOLDS_USED_LATE
broken reads_the_table holds "${small[@]}" -DHOLD_READS_TABLE
broken no_barrier holds "${small[@]}" -DFENCED=0 -DREGISTERED=0
finish
