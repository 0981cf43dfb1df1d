#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Declared, mapped and exported are the same functions; libraries need no more than they should.
source "$(dirname "$0")/common.sh"
check=$root/scripts/check_symbols.py
lib=${RGM_TEST_LIB_DIR:?}

python3 "$check" "$root" "$lib"

for name in libregionmgr libregionmgr-manager; do
	objdump -p "$lib/$name.so" > "$tmp/head"
	grep -q "SONAME *$name.so.0$" "$tmp/head" || fail "$name.so has another SONAME"
	grep NEEDED "$tmp/head" | awk '{ print $2 }' > "$tmp/needed"
	while read -r needed; do
		case $needed in
		libc.so.* | libpthread.so.* | libm.so.* | ld-linux* | liburcu-bp.so.* | liburcu-common.so.*) ;;
		liburcu-cds.so.* | libregionmgr.so.0 | libnuma.so.*)
			[[ $name == libregionmgr-manager ]] || fail "$name.so needs $needed" ;;
		*) fail "$name.so needs $needed" ;;
		esac
	done < "$tmp/needed"
done

# A function that is declared and not mapped is seen, and one that is mapped and not declared.
mkdir -p "$tmp/tree/cmake" "$tmp/tree/regionmgr/include"
cp "$root"/cmake/*.map "$tmp/tree/cmake"
cp -r "$root/regionmgr/include/regionmgr" "$tmp/tree/regionmgr/include"
expect 0 'libregionmgr.so: ' python3 "$check" "$tmp/tree" "$lib"
printf 'RGM_API int rgm_more(\n\tint x);\n' >> "$tmp/tree/regionmgr/include/regionmgr/session.h"
expect 1 'rgm_more is declared and not in regionmgr.map' python3 "$check" "$tmp/tree" "$lib"
sed -i 's/^global:/global:\n\trgm_more;/' "$tmp/tree/cmake/regionmgr.map"
expect 1 'rgm_more is in regionmgr.map and not exported' python3 "$check" "$tmp/tree" "$lib"
sed -i 's/\trgm_pin;//' "$tmp/tree/cmake/regionmgr.map"
expect 1 'rgm_pin is exported and not in regionmgr.map' python3 "$check" "$tmp/tree" "$lib"
