#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What no compiler minds: licence lines, lengths, paths of one machine. And the script can see them.
source "$(dirname "$0")/common.sh"
check=$root/scripts/check_files.py
spdx='SPDX-License-Identifier: Apache-2.0'

true

# plant NAME TEXT WORDS
plant()
{
	rm -rf "$tmp/tree"
	mkdir -p "$tmp/tree/scripts"
	printf '/* %s */\nint x;\n' "$spdx" > "$tmp/tree/good.c"
	[[ ${sound:=} ]] || {
		expect 0 '0 problems' python3 "$check" "$tmp/tree"
		sound=yes
	}
	printf '%b' "$2" > "$tmp/tree/$1"
	expect 1 "$1:$3" python3 "$check" "$tmp/tree"
}

plant bad.c 'int x;\n' '1: does not say'
plant bad.sh '#!/bin/sh\necho\n' '1: does not say'
plant bad.c "/* $spdx */\nint x;" '0: does not end with a newline'
plant bad.c "/* $spdx */\nint x; \n" '2: has blanks at its end'
plant bad.c "/* $spdx */\r\nint x;\n" '0: has a carriage return'
plant bad.c "/* $spdx */\n        int x;\n" '2: is indented by spaces'
plant bad.py "# $spdx\nif 1:\n\tpass\n" '3: has a tab'
plant bad.py "# $spdx\nif 1\n" '2: '
plant bad.c "/* $spdx */\n/* TO""DO: all */\n" '2: is marked as unfinished'
plant bad.md "see /home/""somebody/notes\n" '1: names a path of one machine'
plant bad.md "see /somewhere/else\n" '1: names a path of one machine'
plant bad.md "see $tmp/tree/good.c\n" '1: names a path of one machine'
plant scripts/bad.sh "#!/usr/bin/env bash\n# $spdx\nif\n" '1: has a #! line and is not executable'
plant bad.c "/* $spdx */\n$(printf '\\n%.0s' {1..600})" '601: is longer than 600 lines'
