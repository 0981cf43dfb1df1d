#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each public header, alone, compiles in C11 and C++17 without a warning and without our flags; so
# does the example worker.
source "$(dirname "$0")/common.sh"
cc=${RGM_TEST_CC:-cc}
cxx=${CXX:-c++}
strict=(-Wall -Wextra -Wpedantic -Wconversion -Werror -fsyntax-only "-I$root/regionmgr/include")
command -v "$cxx" > /dev/null || skip "there is no C++ compiler"

count=0
for header in "$root"/regionmgr/include/regionmgr/*.h; do
	# Twice, for its guard.
	name=$(basename "$header")
	printf '#include <regionmgr/%s>\n#include <regionmgr/%s>\nint unit;\n' "$name" "$name" > "$tmp/x.c"
	cp "$tmp/x.c" "$tmp/x.cc"
	"$cc" -std=c11 "${strict[@]}" -Wstrict-prototypes "$tmp/x.c"
	"$cxx" -std=c++17 "${strict[@]}" "$tmp/x.cc"
	count=$((count + 1))
done
((count >= 6)) || fail "only $count public headers were found"

"$cc" -std=c11 "${strict[@]}" "$root/examples/worker/worker.c"
"$cxx" -std=c++17 "${strict[@]}" -x c++ "$root/examples/worker/worker.c"

# The test would see a header that is not C++.
printf '#include <regionmgr/types.h>\nint class;\n' > "$tmp/x.cc"
! "$cxx" -std=c++17 "${strict[@]}" "$tmp/x.cc" 2> /dev/null || fail "bad C++ was accepted"
