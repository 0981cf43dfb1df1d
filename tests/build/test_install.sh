#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Install to a temporary prefix, move the tree, and build the example worker against it: by
# pkg-config in C and in C++17, and by CMake; each is run against the installed regionmgrd.
source "$(dirname "$0")/common.sh"
cc=${RGM_TEST_CC:-cc}
cxx=${CXX:-c++}
cmake=${RGM_TEST_CMAKE:-cmake}
strict=(-Wall -Wextra -Wpedantic -Wconversion -Werror)

"$cmake" --install "${RGM_TEST_BUILD_DIR:?}" --prefix "$tmp/first" > "$tmp/install.log"
mv "$tmp/first" "$tmp/prefix"
prefix=$tmp/prefix
libdir=$(dirname "$(find "$prefix" -name libregionmgr.so)")

for file in bin/regionmgrd bin/regionctl include/regionmgr/session.h include/regionmgr/manager.h; do
	[[ -f $prefix/$file ]] || fail "$file was not installed"
done
for file in libregionmgr.so libregionmgr.so.0 libregionmgr-manager.so pkgconfig/regionmgr.pc \
	pkgconfig/regionmgr-manager.pc cmake/regionmgr/regionmgrConfig.cmake \
	cmake/regionmgr/regionmgrConfigVersion.cmake; do
	[[ -e $libdir/$file ]] || fail "$file was not installed"
done
[[ -z $(find "$prefix" -name '*.a' -o -name 'bench_*' -o -name 'test_*') ]] || fail "too much was installed"
# Nothing installed remembers where it was built.
if grep -rlF -e "$root" -e "$tmp/first" -e "$RGM_TEST_BUILD_DIR" "$prefix"; then
	fail "the files above name a folder of the build"
fi

export PKG_CONFIG_PATH=$libdir/pkgconfig
unset LD_LIBRARY_PATH
read -r version < <(sed -n 's/^#define RGM_VERSION  *"\(.*\)"/\1/p' "$prefix/include/regionmgr/types.h")
[[ $(pkg-config --modversion regionmgr) == "$version" ]] || fail "regionmgr.pc has another version"
[[ $("$prefix/bin/regionctl" --version) == *"$version"* ]] || fail "regionctl has another version"
read -ra flags < <(pkg-config --cflags --libs regionmgr)
rpath=-Wl,-rpath,$(pkg-config --variable=libdir regionmgr)

worker=$root/examples/worker
"$cc" -std=c11 "${strict[@]}" -o "$tmp/worker_c" "$worker/worker.c" "${flags[@]}" "$rpath"
"$cmake" -S "$worker" -B "$tmp/cmake" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
	-DCMAKE_C_FLAGS="-Wall -Wextra -Werror" > "$tmp/cmake.log"
"$cmake" --build "$tmp/cmake" >> "$tmp/cmake.log" || { cat "$tmp/cmake.log"; fail "CMake's worker"; }
workers=("$tmp/worker_c" "$tmp/cmake/worker")
if command -v "$cxx" > /dev/null; then
	"$cxx" -std=c++17 "${strict[@]}" -o "$tmp/worker_cc" -x c++ "$worker/worker.c" -x none \
		"${flags[@]}" "$rpath"
	workers+=("$tmp/worker_cc")
fi

# A program with a manager inside, by both packages.
cat > "$tmp/embedded.c" << 'C'
#include <stdio.h>
#include <regionmgr/manager.h>
int main(int argc, char **argv)
{
	struct rgm_manager_options options = {sizeof(options)};
	struct rgm_manager *manager;
	struct rgm_error error;

	options.instance = "embedded";
	options.dir = argc > 1 ? argv[1] : NULL;
	options.socket = argc > 2 ? argv[2] : NULL;
	if (rgm_manager_open(&options, &manager, &error) != 0 ||
		rgm_manager_close(manager, &error) != 0) {
		fprintf(stderr, "%s\n", error.message);
		return 1;
	}
	return 0;
}
C
read -ra flags < <(pkg-config --cflags --libs regionmgr-manager)
"$cc" -o "$tmp/embedded" "$tmp/embedded.c" "${flags[@]}" "$rpath"
mkdir "$tmp/e"
cat > "$tmp/e/CMakeLists.txt" << 'C'
cmake_minimum_required(VERSION 3.16)
project(e LANGUAGES C)
find_package(regionmgr 0.1 REQUIRED)
add_executable(e ../embedded.c)
target_link_libraries(e PRIVATE regionmgr::manager)
C
"$cmake" -S "$tmp/e" -B "$tmp/e/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_C_COMPILER="$cc" \
	> "$tmp/cmake.log"
"$cmake" --build "$tmp/e/build" >> "$tmp/cmake.log" || { cat "$tmp/cmake.log"; fail "CMake's manager"; }
sed -i 's/regionmgr 0.1/regionmgr 0.2/' "$tmp/e/CMakeLists.txt"
expect 1 '0.2' "$cmake" -S "$tmp/e" -B "$tmp/e/wrong" -DCMAKE_PREFIX_PATH="$prefix"

private_instance
for program in "$tmp/embedded" "$tmp/e/build/e"; do
	mkdir -m 700 "$tmp/data"
	"$program" "$tmp/data" "$tmp/run/e.sock" || fail "$program"
	rm -rf "$tmp/data"
done

# Against a live regionmgrd: all see the same bytes, and they are the source's.
mkdir "$tmp/source"
printf 'one' > "$tmp/source/a"
printf 'three' > "$tmp/source/c"
printf 'two' > "$tmp/source/b"
"$prefix/bin/regionmgrd" --instance install > "$tmp/manager.log" 2>&1 &
started+=($!)
for ((i = 0; i < 200; i++)); do
	"$prefix/bin/regionctl" --instance install --quiet status > "$tmp/out" 2>&1 && break
	sleep 0.05
done
"$prefix/bin/regionctl" --instance install load three "$tmp/source" --kind layers > "$tmp/out" 2>&1 ||
	{ cat "$tmp/out" "$tmp/manager.log" >&2; fail "regionctl load"; }
want='3 layers, 11 bytes, crc32c '
for program in "${workers[@]}"; do
	expect 0 "$want" "$program" install three
	line=$(cat "$tmp/out")
	[[ ${first:=$line} == "$line" ]] || fail "two workers disagree: $first; $line"
	expect 1 'worker: RGM_ENODIM: ' "$program" install none
	expect 1 'worker: RGM_ENOMANAGER: ' env REGIONMGR_DIR="$tmp/none" "$program" install three
done
kill -TERM "${started[0]}"
wait "${started[0]}" || fail "regionmgrd did not stop cleanly"
started=()
