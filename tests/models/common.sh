# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of this folder: run a model by spin, as it must hold or as a broken variant.
#
#   sound NAME MODEL FLOOR [-DFLAG…]    no error, all states within the bounds, at least FLOOR of them,
#                                       and every statement was reached
#   broken NAME MODEL [-DFLAG…]         spin must find that an assertion is violated
#   reached NAME MODEL [-DFLAG…]        the same, where the assertion says that something never happens
#                                       which must: so that the sound run says something
#   finish                              the summary; exit code 1 if one was not as it must be
#
# A name given to the script runs what has that name alone: tests/models/test_sections.sh no_recheck
set -euo pipefail
models=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/regionmgr-test.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
only=${1:-}
runs=0 failures=0
memory_mb=4000 depth_max=1000000 hash_bits=22

skip()
{
	printf 'SKIP %s: %s\n' "${RGM_TEST_NAME:-$(basename "$0" .sh)}" "$*"
	exit 77
}

for tool in ${tools-spin gcc}; do
	command -v "$tool" > /dev/null || skip "$tool is not installed"
done

wrong()
{
	failures=$((failures + 1))
	printf 'FAILED: %s: %s\n' "$1" "$2"
	shift 2
	(($# == 0)) || tail -n 25 "$@"
}

# The bounds that a model is run with: its own, or those of the flags.
bounds_of()
{
	local model=$1
	shift
	gcc -E -dM -x c "$@" "$models/$model.pml" |
		sed -n 's/^#define \([A-Z]*\) \([0-9][0-9]*\)$/\1=\2/p' | grep -E "^($bounds)=" | sort | xargs
}
bounds='VERSIONS|READERS|DEPTH|FENCED|REGISTERED|DEATHS|RING'

# check NAME MODEL FLAG…: generate, compile and run; the verifier's words are in $out. False: it was
# not asked for, or could not be run.
check()
{
	local name=$1 model=$2
	shift 2
	[[ -z $only || $only == "$name" ]] || return 1
	runs=$((runs + 1))
	local folder=$tmp/$name
	out=$folder/out
	mkdir "$folder"
	if ! (cd "$folder" && spin "$@" -a "$models/$model.pml" &&
		gcc -O1 -w -DSAFETY -DCOLLAPSE "-DMEMLIM=$memory_mb" -o pan pan.c) > "$out" 2>&1; then
		wrong "$name" "the model cannot be compiled" "$out"
		return 1
	fi
	(cd "$folder" && ./pan "-m$depth_max" "-w$hash_bits") > "$out" 2>&1 || true
	errors=$(sed -n 's/^State-vector .* errors: \([0-9]*\)$/\1/p' "$out")
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$out")
	depth=$(sed -n 's/^State-vector .*depth reached \([0-9]*\),.*/\1/p' "$out")
	rm -f "$folder"/pan*
	[[ -n $errors && -n $states && -n $depth ]] || {
		wrong "$name" "the verifier did not end as it should" "$out"
		return 1
	}
}

sound()
{
	local name=$1 model=$2 floor=$3 unreached
	shift 3
	check "$name" "$model" "$@" || return 0
	# Processes without an end do not reach it.
	unreached=$(grep -E '^	.*\.pml:[0-9]+, state [0-9]+, ' "$out" | grep -v '"-end-"' || true)
	if ((errors != 0)); then
		wrong "$name" "$(grep -m 1 '^pan:1:' "$out" | cut -c 1-60)" "$out"
	elif grep -qE 'max search depth too small|out of memory|Search not completed' "$out"; then
		wrong "$name" "the search was not exhaustive" "$out"
	elif ! awk -v states="$states" -v floor="$floor" 'BEGIN { exit !(states >= floor) }'; then
		wrong "$name" "only $states states, where at least $floor were expected"
	elif [[ -n $unreached ]]; then
		wrong "$name" "not all of the model was run: $unreached"
	else
		printf 'sound    %-28s %9.0f states, depth %s; %s\n' "$name" "$states" "$depth" \
			"$(bounds_of "$model" "$@")"
	fi
}

# An assertion, not a deadlock or the like, and found before the search came to its limits.
violated()
{
	local word=$1 name=$2 model=$3
	shift 3
	check "$name" "$model" "$@" || return 0
	if ((errors == 0)); then
		wrong "$name" "no error was found in $states states"
	elif ! grep -q '^pan:1: assertion violated' "$out"; then
		wrong "$name" "$(grep -m 1 '^pan:1:' "$out" | cut -c 1-60), which is another error"
	else
		printf '%-8s %-28s after %.0f states, at depth %s; %s\n' "$word" "$name" "$states" \
			"$(sed -n 's/^pan:1: assertion violated.*(at depth \([0-9]*\)).*/\1/p' "$out")" \
			"$(bounds_of "$model" "$@")"
	fi
}

broken()
{
	violated broken "$@"
}

reached()
{
	violated reached "$@"
}

finish()
{
	((runs)) || wrong "$only" "there is no run of that name"
	printf '%d runs, %d failures\n' "$runs" "$failures"
	((failures == 0))
}
