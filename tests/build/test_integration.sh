#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# docs/integration.md, verbatim: its programs are extracted, built against an installed tree with
# the commands it shows, and run against the regionmgrd that it starts.
source "$(dirname "$0")/common.sh"
cmake=${RGM_TEST_CMAKE:-cmake}

"$cmake" --install "${RGM_TEST_BUILD_DIR:?}" --prefix "$tmp/prefix" > "$tmp/install.log"
libdir=$(dirname "$(find "$tmp/prefix" -name libregionmgr.so)")
mkdir "$tmp/guide"
python3 "$root/scripts/extract_code.py" "$root/docs/integration.md" "$tmp/guide" > "$tmp/files"

cmp "$tmp/guide/worker.c" "$root/examples/worker/worker.c" || fail "the guide's worker.c is another one"
cmp "$tmp/guide/cmake/CMakeLists.txt" "$root/examples/worker/CMakeLists.txt" ||
	fail "the guide's CMakeLists.txt is another one"

# What the guide says to set for a prefix of one's own.
private_instance
export PATH=$tmp/prefix/bin:$PATH PKG_CONFIG_PATH=$libdir/pkgconfig LD_LIBRARY_PATH=$libdir
export CMAKE_PREFIX_PATH=$tmp/prefix
cd "$tmp/guide"

# One shell, as a reader would have it: what one block sets is there in the next.
cat start.sh build.sh build-cmake.sh build-holds.sh build-follow.sh stop.sh > all.sh
status=0
timeout 120 bash -eu all.sh > out 2>&1 || status=$?
cat out
((status == 0)) || { cat guide.log; fail "the guide's commands end with $status"; }

# worker.c, by pkg-config and by CMake, says the same, and what it sees is the folder.
layers=$(find /usr/share/common-licenses -type f | wc -l)
bytes=$(find /usr/share/common-licenses -type f -printf '%s\n' | awk '{ n += $1 } END { print n }')
[[ $(grep -c "^licences: version [0-9]*, $layers layers, $bytes bytes, crc32c [0-9a-f]\{8\}$" out) == 2 ]] ||
	fail "the workers do not both see $layers layers and $bytes bytes"
grep -qx "threads saw $bytes bytes" out || fail "the threads of holds.c saw something else"
grep -qx 'news: ETIMEDOUT' out || fail "holds.c was told of news"
grep -qx "the child reads $layers layers" out || fail "the forked child of holds.c saw something else"

# follow.c reloads for each change, and ends when its dimension is dropped.
for n in 1 2 3; do
	grep -qx "reloaded: $n layers" out || fail "follow.c did not see $n layers"
done
grep -qx 'it is gone' out || fail "follow.c was not told of the drop"
