#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: slow
# What a section costs, counted in the installed library and in programs compiled against the installed
# headers: on the way through rgm_pin(), rgm_unpin() and rgm_layers_refresh() there is no call, no locked
# instruction, no fence, and no more instructions, loads and stores than there were.
source "$(dirname "$0")/common.sh"
cc=${RGM_TEST_CC:-cc}
cmake=${RGM_TEST_CMAKE:-cmake}
follow=$root/tests/build/fast_path.py
[[ $(uname -m) == x86_64 ]] || skip "it reads the code of x86-64"
command -v objdump > /dev/null || fail "objdump is not there (binutils)"

"$cmake" --install "${RGM_TEST_BUILD_DIR:?}" --prefix "$tmp/prefix" > "$tmp/install.log"
library=$(find "$tmp/prefix" -name 'libregionmgr.so.0')
python3 "$follow" "$library" rgm_pin=13,4,1 rgm_unpin=10,3,1 || fail "the library's functions"

# Functions of their own, and all three in a row as in a worker's loop.
cat > "$tmp/x.c" << 'C'
#include <regionmgr/layers.h>
#ifdef __cplusplus
extern "C" {
#endif
int one_pin(struct rgm_slot *slot);
int one_unpin(struct rgm_slot *slot);
int one_refresh(struct rgm_slot *slot, struct rgm_layers *layers);
int section(struct rgm_slot *slot, struct rgm_layers *layers);
#ifdef __cplusplus
}
#endif
int one_pin(struct rgm_slot *slot)
{
	return rgm_pin(slot);
}
int one_unpin(struct rgm_slot *slot)
{
	return rgm_unpin(slot);
}
int one_refresh(struct rgm_slot *slot, struct rgm_layers *layers)
{
	return rgm_layers_refresh(slot, layers, NULL);
}
int section(struct rgm_slot *slot, struct rgm_layers *layers)
{
	if (rgm_pin(slot) != 0)
		return 1;
	if (rgm_layers_refresh(slot, layers, NULL) != 0)
		return 2;
	return rgm_unpin(slot);
}
C
cp "$tmp/x.c" "$tmp/x.cc"
strict=(-Wall -Wextra -Wpedantic -Wconversion -Werror "-I$tmp/prefix/include")
counts=(one_pin=13,4,1 one_unpin=10,3,1 one_refresh=12,4,3 section=39)
count=0

# compile COMPILER SOURCE FLAGS…: what the compiler makes of the inlined bodies.
compile()
{
	local compiler=$1 file=$2
	shift 2
	command -v "$compiler" > /dev/null || return 0
	"$compiler" "$@" "${strict[@]}" -O2 -c "$file" -o "$tmp/x.o"
	printf '%s %s:\n' "$compiler" "$*"
	python3 "$follow" "$tmp/x.o" "${counts[@]}" || fail "$compiler $*"
	# Without optimisation, or where they are not wanted, the library's functions are called.
	"$compiler" "$@" "${strict[@]}" -O0 -c "$file" -o "$tmp/x.o"
	nm -u "$tmp/x.o" | grep -q 'rgm_pin$' || fail "$compiler -O0 does not call rgm_pin"
	"$compiler" "$@" "${strict[@]}" -O2 -DRGM_NO_INLINE -c "$file" -o "$tmp/x.o"
	nm -u "$tmp/x.o" | grep -q 'rgm_unpin$' || fail "RGM_NO_INLINE does not call rgm_unpin"
	! nm "$tmp/x.o" | grep -q ' [TtWw] rgm_' || fail "$compiler defines a function of the library"
	expect 1 'no path without a call' python3 "$follow" "$tmp/x.o" one_pin=13
	count=$((count + 1))
}
for standard in c99 c11 c17; do
	compile "$cc" "$tmp/x.c" "-std=$standard" -Wshadow
done
compile clang-14 "$tmp/x.c" -std=c11
compile clang "$tmp/x.c" -std=c11
compile "${CXX:-c++}" "$tmp/x.cc" -std=c++17
compile clang++-14 "$tmp/x.cc" -std=c++17
((count >= 3)) || fail "only $count compilers were tried"

# The check sees what it is there to see.
cat > "$tmp/bad.c" << 'C'
long word;
int locked(void) { __atomic_fetch_add(&word, 1, __ATOMIC_SEQ_CST); return 0; }
int fenced(void) { __asm__ volatile("mfence" ::: "memory"); return 0; }
int stored(void) { __atomic_store_n(&word, 1, __ATOMIC_SEQ_CST); return 0; }
int longer(void) { word = 1; __asm__ volatile("inc %eax; inc %eax; inc %eax; inc %eax"); return 0; }
int reads(long *x) { x[0] = x[1] + x[2]; __asm__ volatile("cmpq $0, 8(%0); push 16(%0)" : : "r"(x)); return 0; }
int writes(long *x) { __asm__ volatile("incq 8(%0); movq $1, (%0); pop %%rax" : : "r"(x) : "rax"); return 0; }
C
"$cc" -O2 -c "$tmp/bad.c" -o "$tmp/bad.o"
expect 1 'a locked instruction is on' python3 "$follow" "$tmp/bad.o" locked=9
expect 1 'a fence is on' python3 "$follow" "$tmp/bad.o" fenced=9
expect 1 'is locked is on' python3 "$follow" "$tmp/bad.o" stored=9
expect 1 'more than 5 instructions' python3 "$follow" "$tmp/bad.o" longer=5
expect 1 'no path' python3 "$follow" "$tmp/bad.o" missing=5
python3 "$follow" "$tmp/bad.o" reads=9,4,2 writes=9,2,2 || fail "loads and stores are counted wrong"
expect 1 'more than 3 loads' python3 "$follow" "$tmp/bad.o" reads=9,3,2
expect 1 'more than 1 stores' python3 "$follow" "$tmp/bad.o" reads=9,4,1
expect 1 'more than 1 loads' python3 "$follow" "$tmp/bad.o" writes=9,1,2
expect 1 'more than 1 stores' python3 "$follow" "$tmp/bad.o" writes=9,2,1
