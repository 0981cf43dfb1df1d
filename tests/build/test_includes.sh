#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# No include points up, and the script that says so can see one that does.
source "$(dirname "$0")/common.sh"
check=$root/scripts/check_includes.py

python3 "$check" "$root"

# plant PATH INCLUDE WORDS: a tree with one bad include is refused, and its place named.
plant()
{
	rm -rf "$tmp/tree"
	mkdir -p "$tmp/tree/regionmgr/include/regionmgr"
	touch "$tmp/tree/regionmgr/include/regionmgr/types.h"
	for folder in pool ipc dimensions regionmgr/reader regionmgr/manager regionmgr/cli; do
		mkdir -p "$tmp/tree/$folder"
		printf '#include <regionmgr/types.h>\n' > "$tmp/tree/$folder/x.h"
	done
	printf '#include <stdio.h>\n#include "pool/x.h"\n' > "$tmp/tree/ipc/good.c"
	[[ ${sound:=} ]] || {
		expect 0 '0 includes against the tiers' python3 "$check" "$tmp/tree"
		sound=yes
	}
	printf '\n#include %s\n' "$2" > "$tmp/tree/$1"
	expect 1 "$1:2: $3" python3 "$check" "$tmp/tree"
}

plant pool/bad.c '"ipc/x.h"' 'ipc/x.h: pool may not know ipc'
plant pool/bad.h '"dimensions/x.h"' 'dimensions/x.h: pool may not know dimensions'
plant dimensions/bad.c '"ipc/x.h"' 'ipc/x.h: dimensions may not know ipc'
plant ipc/bad.c '"dimensions/x.h"' 'dimensions/x.h: ipc may not know dimensions'
plant ipc/bad.c '"regionmgr/reader/x.h"' 'regionmgr/reader/x.h: ipc may not know regionmgr/reader'
plant regionmgr/reader/bad.c '"regionmgr/manager/x.h"' 'regionmgr/manager/x.h: regionmgr/reader may'
plant regionmgr/cli/bad.c '"regionmgr/manager/x.h"' 'regionmgr/manager/x.h: regionmgr/cli may not'
plant regionmgr/include/regionmgr/bad.h '"pool/x.h"' 'pool/x.h: regionmgr/include may not know pool'
plant ipc/bad.c '"x.h"' 'x.h: is not named from the root'
plant ipc/bad.c '<pool/x.h>' 'pool/x.h: internal headers are included as'
plant ipc/bad.c '<regionmgr/none.h>' 'regionmgr/none.h: there is no such public header'
plant ipc/bad.c '"regionmgr/include/regionmgr/types.h"' 'regionmgr/include/regionmgr/types.h: public'
plant dimensions/bad.c '<sys/mman.h>' 'sys/mman.h: only'
plant regionmgr/manager/bad.c '<numa.h>' 'numa.h: only'
expect 1 'no sources' python3 "$check" "$tmp/nowhere"
