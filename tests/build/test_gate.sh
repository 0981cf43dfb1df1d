#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: slow
# check.sh and demo.sh themselves, in a copy of the tree's frame where dpkg-query, apt-get, id, sudo,
# cmake and ctest are played by scripts.
source "$(dirname "$0")/common.sh"
fakes=$tmp/fakes
tree=$tmp/tree
mkdir -p "$fakes" "$tree/scripts" "$tree/tests"
cp "$root/check.sh" "$root/demo.sh" "$tree"
cp "$root"/scripts/packages* "$tree/scripts"
cp "$root/tests/allowed-skips.txt" "$tree/tests"
export CALLS=$tmp/calls

# fake NAME BODY: a program that notes how it was called and then does BODY.
fake()
{
	printf '#!/bin/sh\necho "%s $*" >> "$CALLS"\n%s\n' "$1" "$2" > "$fakes/$1"
	chmod +x "$fakes/$1"
}

# Of what is asked, all is installed but $MISSING.
fake dpkg-query 'shift 3
for p; do [ "$p" = "${MISSING:-}" ] || echo "$p installed"; done'
fake apt-get 'exit ${APT:-0}'
fake id 'echo ${USER_ID:-0}'
fake sudo '[ "${SUDO:-0}" = 0 ] || exit 1
[ "$1" != -n ] || shift
exec "$@"'
fake cmake 'true'
# Names in /dev/shm: one that was there before, and with $LEFT one that the tests left.
fake find 'echo /dev/shm/regionmgr.0.table
[ ! -e "$CALLS.left" ] || echo /dev/shm/regionmgr.1.table'
fake ctest '[ -z "$LEFT" ] || touch "$CALLS.left"
folder=$2
mkdir -p "$folder/Testing/Temporary"
cp "$LOG" "$folder/Testing/Temporary/LastTest.log"
echo "1/2 Test #1: test_a ............   Passed    0.01 sec"
echo "2/2 Test  #2: test_b ............${B:-   Passed}    0.01 sec"
echo
echo "${PERCENT:-100}% tests passed, 0 tests failed out of 2"
echo
echo "Total Test time (real) = 0.01 sec"
exit ${CTEST:-0}'
export LOG=$tmp/log
printf '1/2 Testing: test_a\nfine\n' > "$LOG"

# run CODE WORDS [VARIABLE=VALUE…] COMMAND…: in the copy, with the fakes first in PATH.
run()
{
	local code=$1 words=$2
	shift 2
	: > "$CALLS"
	rm -f "$CALLS.left"
	expect "$code" "$words" env "PATH=$fakes:$PATH" CI= "$@" < /dev/null
}
called() { grep -q "^$1" "$CALLS" || fail "$1 was not called"; }
uncalled() { ! grep -q "^$1" "$CALLS" || fail "$1 was called"; }

cd "$tree"
# All there: nobody asks apt, root or not, and CTest's words come last.
for uid in 0 1000; do
	run 0 'Total Test time' USER_ID=$uid ./check.sh quick
	uncalled apt-get
	uncalled sudo
	called 'ctest .*-L ^quick\$'
	[[ $(tail -n 3 "$tmp/out" | head -n 1) == '100% tests passed, 0 tests failed out of 2' ]] ||
		{ cat "$tmp/out"; fail "check.sh does not end with CTest's summary"; }
done
run 0 '' ./check.sh
called 'cmake --preset tsan'
called 'cmake --preset asan'
called 'cmake --preset release'
called 'cmake --preset dev'

# One missing: installed as root, or through sudo.
run 0 'installing libcmocka-dev' MISSING=libcmocka-dev ./check.sh quick
called 'apt-get update'
called 'apt-get install .*--no-install-recommends libcmocka-dev'
run 0 'installing libcmocka-dev' MISSING=libcmocka-dev USER_ID=1000 ./check.sh quick
called 'apt-get install'
# Neither: the exact line, and 2. demo.sh does not ask for what tests need.
line='apt-get install -y --no-install-recommends'
run 2 "$line libcmocka-dev" MISSING=libcmocka-dev USER_ID=1000 SUDO=1 ./check.sh quick
uncalled apt-get
uncalled cmake
run 2 "$line liburcu-dev" MISSING=liburcu-dev USER_ID=1000 SUDO=1 ./demo.sh
run 2 "$line liburcu-dev" MISSING=liburcu-dev APT=100 ./demo.sh
mkdir -p build/release/bin
printf '#!/bin/sh\necho "job $*"\nexit ${JOB:-0}\n' > build/release/bin/main_job
chmod +x build/release/bin/main_job
run 0 "job --bin build/release/bin --dir $tmp/regionmgr-demo." MISSING=libcmocka-dev USER_ID=1000 \
	TMPDIR="$tmp" ./demo.sh --quick
uncalled apt-get
run 3 'job ' JOB=3 TMPDIR="$tmp" ./demo.sh
[[ -z $(find "$tmp" -maxdepth 1 -name 'regionmgr-demo.*') ]] || fail "demo.sh left its folder behind"

# A signal to demo.sh reaches the job, and the folder goes.
printf '#!/bin/bash\ntrap "echo stopped > %s; exit 0" TERM\ntouch %s\nfor ((i = 0; i < 600; i++)); do sleep 0.1; done\n' \
	"$tmp/stopped" "$tmp/running" > build/release/bin/main_job
PATH=$fakes:$PATH TMPDIR=$tmp ./demo.sh > "$tmp/out" 2>&1 &
demo=$!
started+=($demo)
for ((i = 0; i < 300; i++)); do [[ -e $tmp/running ]] && break; sleep 0.1; done
kill -TERM "$demo"
status=0
wait "$demo" || status=$?
started=()
[[ $status == 143 && -e $tmp/stopped ]] || fail "demo.sh ended with $status after SIGTERM"
[[ -z $(find "$tmp" -maxdepth 1 -name 'regionmgr-demo.*') ]] || fail "demo.sh left its folder behind"

# Failures are failures.
run 1 'out of 2' CTEST=8 ./check.sh quick
run 2 'quick' ./check.sh nonsense
fake cmake 'case "$*" in *--build*) echo "x.c:1: error"; exit 1 ;; esac'
run 1 'x.c:1: error' ./check.sh quick
uncalled ctest
fake cmake 'true'

# Skips are named with their reasons; in CI, as root, only those on the list are excused.
printf '1/2 Testing: asan.test_a\nSKIP asan.test_loop: needs a loop device\n2/2 Testing: test_b\n' > "$LOG"
run 0 'asan.test_a: asan.test_loop: needs a loop device' ./check.sh quick
run 1 'not in tests/allowed-skips.txt: asan.test_a: asan.test_loop' CI=true ./check.sh quick
run 0 'test_loop' CI=true USER_ID=1000 ./check.sh quick
printf 'test_loop   # no loop devices in containers\n' >> tests/allowed-skips.txt
run 0 'test_loop' CI=true ./check.sh quick
printf '1/2 Testing: test_a\n2/2 Testing: test_b\n' > "$LOG"
run 0 'test_b: test_b: no reason given' 'B=***Skipped' ./check.sh quick
run 1 'not in tests/allowed-skips.txt: test_b: test_b' 'B=***Skipped' CI=true ./check.sh quick
printf '1/2 Testing: test_a\n2/2 Testing: test_b\nSKIP test_b: no root\n' > "$LOG"
run 0 'test_b: test_b: no root' 'B=***Skipped' ./check.sh quick
! grep -q 'no reason' "$tmp/out" || fail "a reason was overlooked"

# So are names left behind in /dev/shm.
: > "$LOG"
run 0 'Total' CI=true ./check.sh quick
run 1 'left behind: /dev/shm/regionmgr.1.table' CI=true LEFT=yes ./check.sh quick
run 0 'Total' LEFT=yes ./check.sh quick
