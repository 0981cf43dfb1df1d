#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The gate: install what is missing, build, run the tests, end with CTest's summary.
#
#   ./check.sh            everything but torture: dev, release, asan+ubsan, tsan, static checks
#   ./check.sh quick      the dev build and its quick tests, in under a minute
#   ./check.sh torture    tests labelled torture or long, in release, asan and tsan
#   ./check.sh lint       static checks alone
#   ./check.sh dev|release|asan|tsan|coverage    one build and its tests
#
# What follows is handed to ctest: ./check.sh asan -R pool. Exit code 0: all passed; 1: not; 2: bad
# usage, or packages are missing and cannot be installed.
#
# With CI=true and as root nothing has an excuse: a skipped test that tests/allowed-skips.txt does
# not name fails, and so does a name left behind in /dev/shm.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/packages.sh

mode=${1:-all}
(($# == 0)) || shift
case $mode in
all) presets=(dev release asan tsan) select=(-LE 'torture|long') ;;
quick) presets=(dev) select=(-L '^quick$') ;;
torture) presets=(release asan tsan) select=(-L 'torture|long') ;;
lint) presets=(dev) select=(-L '^lint$') ;;
dev | release | asan | tsan | coverage) presets=("$mode") select=(-LE 'torture|long|lint') ;;
*)
	sed -n '/^#   /s/^# //p' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac

packages_need build/packages.log scripts/packages-build.txt scripts/packages-test.txt

jobs=$(nproc)
gate=build/check
rm -rf "$gate"
mkdir -p "$gate"

# A log is shown only of what fails.
logged()
{
	local log=$1
	shift
	"$@" > "$log" 2>&1 || {
		grep -v '^\[[0-9]*/[0-9]*\] [A-Z]' "$log" >&2
		printf 'check.sh: failed: %s\n' "$*" >&2
		exit 1
	}
}

for preset in "${presets[@]}"; do
	start=$SECONDS
	# A build folder that came here with a copied tree belongs to the old place.
	if [[ -f build/$preset/CMakeCache.txt ]] &&
		! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" "build/$preset/CMakeCache.txt"; then
		rm -rf "build/$preset"
	fi
	logged "$gate/$preset.configure.log" cmake --preset "$preset"
	logged "$gate/$preset.build.log" cmake --build --preset "$preset" -j "$jobs"
	printf '%-8s built in %d s\n' "$preset" $((SECONDS - start))
	printf 'subdirs("%s")\n' "$PWD/build/$preset" >> "$gate/CTestTestfile.cmake"
done

# ThreadSanitizer's shadow has no room for more than 28 random bits in addresses.
runner=()
if [[ " ${presets[*]} " == *' tsan '* ]] &&
	(($(cat /proc/sys/vm/mmap_rnd_bits 2> /dev/null || echo 28) > 28)); then
	runner=(setarch -R)
fi

shm_names()
{
	find /dev/shm -maxdepth 1 -name 'regionmgr.*' 2> /dev/null | sort
}

# Show the tests as they end, and keep the summary for the last lines.
shm_before=$(shm_names)
summary=$gate/summary.txt
: > "$summary"
status=0
# Twice as many at once as there are processors: half of a test is waiting for programs and disks.
"${runner[@]}" ctest --test-dir "$gate" -j $((jobs * 2)) --output-on-failure --no-tests=error \
	"${select[@]}" "$@" 2>&1 | tee "$gate/ctest.log" | {
	ended=
	while IFS= read -r line; do
		[[ $line =~ ^[0-9]+%\ tests\ passed ]] && ended=yes
		if [[ $ended ]]; then
			printf '%s\n' "$line" >> "$summary"
		else
			printf '%s\n' "$line"
		fi
	done
} || status=${PIPESTATUS[0]}
shm_left=$(comm -13 <(printf '%s\n' "$shm_before") <(shm_names))

# Every SKIP line, with the test that printed it; and each test that CTest calls skipped without one.
skips=$gate/skips.txt
awk '
	FILENAME ~ /LastTest/ && /^[0-9]+\/[0-9]+ Testing: / { test = $3 }
	FILENAME ~ /LastTest/ && /^SKIP [^ ]+: / { print test ": " substr($0, 6); told[test] = 1 }
	FILENAME ~ /ctest\.log/ && / Test +#[0-9]+: .*\*\*\*Skipped/ {
		sub(/.* Test +#[0-9]+: /, "")
		if (!told[$1]) print $1 ": " $1 ": no reason given"
	}
' "$gate/Testing/Temporary/LastTest.log" "$gate/ctest.log" 2> /dev/null | sort -u > "$skips" || true
if [[ -s $skips ]]; then
	printf '\nSkipped, and why:\n'
	sed 's/^/  /' "$skips"
fi
printf '\n%s: %d s in all\n' "$mode" "$SECONDS"

cat "$summary"

if [[ ${CI:-} == true && $(id -u) == 0 ]]; then
	while IFS= read -r line; do
		name=${line#*: }
		name=${name%%: *}
		[[ $name =~ ^(release|asan|tsan|coverage)\.(.*) ]] && name=${BASH_REMATCH[2]}
		if ! grep -qxF "$name" <(sed 's/[[:space:]]*#.*//' tests/allowed-skips.txt); then
			printf 'check.sh: this skip is not in tests/allowed-skips.txt: %s\n' "$line" >&2
			status=1
		fi
	done < "$skips"
	if [[ -n $shm_left ]]; then
		printf 'check.sh: left behind: %s\n' "$shm_left" >&2
		status=1
	fi
fi
((status == 0)) || exit 1
