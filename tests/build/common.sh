# SPDX-License-Identifier: Apache-2.0
# Sourced by the tests of this folder: a temporary folder in $tmp, removed at the end, and words.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tmp=$(mktemp -d "${TMPDIR:-/tmp}/regionmgr-test.XXXXXX")
started=()

finish()
{
	local pid
	for pid in "${started[@]}"; do
		kill "$pid" 2> /dev/null || true
		wait "$pid" 2> /dev/null || true
	done
	rm -rf "$tmp"
}
trap finish EXIT

fail()
{
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}

skip()
{
	printf 'SKIP %s: %s\n' "${RGM_TEST_NAME:-$(basename "$0")}" "$*"
	exit 77
}

# expect CODE WORDS COMMAND…: the exit code, and words in what it prints. Output stays in $tmp/out.
expect()
{
	local code=$1 words=$2 got=0
	shift 2
	"$@" > "$tmp/out" 2>&1 || got=$?
	[[ $got == "$code" ]] || { cat "$tmp/out" >&2; fail "exit code $got instead of $code: $*"; }
	grep -qF -- "$words" "$tmp/out" || { cat "$tmp/out" >&2; fail "does not say '$words': $*"; }
}

# A private place for an instance, so that a test meets no other one.
private_instance()
{
	export HOME=$tmp/home XDG_RUNTIME_DIR=$tmp/run XDG_STATE_HOME=$tmp/state
	export REGIONMGR_DIR=$tmp/instance
	unset REGIONMGR_CONFIG XDG_CONFIG_HOME
	mkdir -p "$HOME" "$XDG_STATE_HOME"
	mkdir -m 700 "$XDG_RUNTIME_DIR"
}
