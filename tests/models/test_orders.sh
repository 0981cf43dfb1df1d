#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The orders of ipc/slot.h in the memory model of C++11, by relacy (orders.cpp). See README.md.
#   tests/models/test_orders.sh [VARIANT]      RGM_TEST_SEED: the first iteration; ITERATIONS: how many
# label: models
tools= # none of spin's
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cxx=${CXX:-c++}
command -v "$cxx" > /dev/null || skip "there is no C++ compiler"
echo '#include <relacy/relacy.hpp>' > "$tmp/x.cpp"
"$cxx" -std=c++17 -w -fsyntax-only "$tmp/x.cpp" 2> /dev/null || skip "relacy is not installed"
"$cxx" -std=c++17 -O1 -w -o "$tmp/orders" "$models/orders.cpp"
seed=${RGM_TEST_SEED:-1} iterations=${ITERATIONS:-50000}
declare -A told=()

# orders CODE WORD VARIANT: CODE as orders.cpp ends.
orders()
{
	local code=$1 word=$2 variant=$3 got=0
	told[$variant]=yes
	[[ -z $only || $only == "$variant" ]] || return 0
	runs=$((runs + 1))
	"$tmp/orders" "$variant" "$iterations" "$seed" > "$tmp/out" 2>&1 || got=$?
	if ((got != code)); then
		wrong "$variant" "exit code $got instead of $code" "$tmp/out"
	else
		printf '%-8s %-28s %s\n' "$word" "$variant" "$(tail -n 1 "$tmp/out")"
	fi
}

for name in {one_reader,two_readers,two_threads}{,_membarrier} revocation; do
	orders 0 sound "$name"
done
# What could be weaker; README.md says why it is not.
for name in r1_relaxed r2_relaxed r4_relaxed_with_a_fence hold_dimension_relaxed; do
	orders 0 sound "$name"
done
for name in r4_relaxed r6_relaxed m1_relaxed m4_relaxed m5_dimension_relaxed m5_version_relaxed \
	hold_version_relaxed hold_clear_relaxed no_reader_fence no_manager_fence no_recheck \
	no_recheck_membarrier holds_before_words moved taken_outside retired_since \
	no_revocation_fence no_check_fence checked_before_reads; do
	orders 1 broken "$name"
done
for name in $("$tmp/orders"); do
	[[ -n ${told[$name]:-} ]] || wrong "$name" "is not run by this test"
done
finish
