#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job on this machine's own libraries: install what building needs, build the release, run
# a manager on a temporary instance with 16 worker processes of 8 threads while the data changes,
# and leave nothing behind but build/. Options are handed to the main job.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source scripts/packages.sh

packages_need build/packages.log scripts/packages-build.txt

job=
folder=
finish()
{
	trap - EXIT INT TERM HUP
	if [[ -n $job ]]; then
		kill -TERM "$job" 2> /dev/null || true
		wait "$job" 2> /dev/null || true
	fi
	[[ -z $folder ]] || rm -rf "$folder"
}
trap finish EXIT
trap 'finish; exit 130' INT
trap 'finish; exit 143' TERM HUP

mkdir -p build
log=build/demo.log
printf 'building the release (log: %s)\n' "$log" >&2
if [[ -f build/release/CMakeCache.txt ]] &&
	! grep -qxF "CMAKE_HOME_DIRECTORY:INTERNAL=$PWD" build/release/CMakeCache.txt; then
	rm -rf build/release
fi
if ! { cmake --preset release && cmake --build --preset release -j "$(nproc)" \
	--target regionmgrd regionctl main_job; } > "$log" 2>&1; then
	tail -n 30 "$log" >&2
	exit 1
fi

# In the background, so that a signal to this script is acted on at once.
folder=$(mktemp -d "${TMPDIR:-/tmp}/regionmgr-demo.XXXXXX")
build/release/bin/main_job --bin build/release/bin --dir "$folder" --scale full "$@" &
job=$!
status=0
wait "$job" || status=$?
job=
exit "$status"
