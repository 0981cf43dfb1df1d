#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sessions: attach, registration, death, forks, by spin. See README.md.
# label: models
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

sound forks sessions 3500000 -DVERSIONS=2

two=(-DVERSIONS=2)
broken handles_first sessions "${two[@]}" -DHANDLES_FIRST
broken timeout_is_death sessions "${two[@]}" -DTIMEOUT_IS_DEATH
broken hangup_is_end sessions "${two[@]}" -DHANGUP_IS_END
broken holds_die_with_the_process sessions "${two[@]}" -DHOLDS_DIE
broken child_goes_on_in_the_section sessions "${two[@]}" -DCHILD_PINS
broken release_forgets_the_child sessions "${two[@]}" -DRELEASE_FORGETS_CHILD
broken bit_missing sessions "${two[@]}" -DBIT_MISSING
broken bit_unfenced sessions "${two[@]}" -DBIT_UNFENCED
broken failed_call_ignored sessions "${two[@]}" -DFAILURE_IGNORED
finish
