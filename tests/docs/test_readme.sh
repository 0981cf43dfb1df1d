#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The session in README.md, verbatim, in one shell: it ends with 0, prints what the README says and
# what was loaded, by the word of other tools, stops the manager cleanly and leaves nothing behind.
source "$(dirname "$0")/../build/common.sh"
bin=${RGM_TEST_BIN_DIR:?}
licences=/usr/share/common-licenses

python3 "$root/scripts/extract_code.py" "$root/README.md" "$tmp" > "$tmp/files"
[[ $(wc -l < "$root/README.md") -le 150 ]] || fail "README.md is longer than 150 lines"
[[ $(wc -l < "$tmp/session.sh") == 10 ]] || fail "the session has not ten lines"

# The session ends by removing its folder: this rm keeps a copy of what was in it.
mkdir "$tmp/words" "$tmp/temporary"
cat > "$tmp/words/rm" <<END
#!/bin/sh
for last; do :; done
cp -r "\$last" "$tmp/kept"
exec /bin/rm "\$@"
END
chmod +x "$tmp/words/rm"

unset REGIONMGR_INSTANCE REGIONMGR_SOCKET REGIONMGR_CONFIG XDG_CONFIG_HOME
export HOME=$tmp TMPDIR=$tmp/temporary
status=0
PATH=$tmp/words:$bin:$PATH timeout 60 bash -eu "$tmp/session.sh" \
	> "$tmp/out" 2> "$tmp/said" || status=$?
cat "$tmp/said" "$tmp/out"
if ((status != 0)); then
	# The manager that it leaves behind wrote its process number there.
	kill "$(cat "$TMPDIR"/*/lock)" 2> /dev/null || true
	fail "the session ends with $status"
fi

# Words behind # in the session are a line of the output.
sed -n 's/.*[^"]  *# \(.*\)$/\1/p' "$tmp/session.sh" > "$tmp/promised"
[[ -s $tmp/promised ]] || fail "the session promises no output"
while IFS= read -r line; do
	grep -qxF -- "$line" "$tmp/out" || fail "the session does not print '$line'"
done < "$tmp/promised"

# What is in the dimension: the folder's regular files, and the numbers, by the order of their names.
mkdir "$tmp/same"
(cd "$licences" && find . -type f -exec cp --parents {} "$tmp/same" \;)
seq 10000 > "$tmp/same/numbers"
python3 "$(dirname "$0")/content.py" "$tmp/same" > "$tmp/expected"
IFS=$'\t' read -r layers bytes crc < "$tmp/expected"
grep -q "^licences	layers	serving	[0-9]*	$layers	$bytes	" "$tmp/out" ||
	fail "list does not show $layers layers of $bytes bytes"
grep -q "^licences	[0-9]*	$layers	$bytes	$crc	" "$tmp/out" ||
	fail "scan does not print $layers layers of $bytes bytes with crc32c $crc"

# The end of it.
grep -q 'stopped cleanly' "$tmp/kept/log" || { cat "$tmp/kept/log" >&2; fail "the stop was not clean"; }
id=$(sed -n 's/^instance_id\t//p' "$tmp/kept/status")
[[ ${#id} == 32 ]] || fail "status told no instance id"
[[ -z $(find /dev/shm -name "regionmgr.$id.*" 2> /dev/null) ]] || fail "names are left in /dev/shm"
[[ -z $(ls -A "$TMPDIR") ]] || fail "something is left in the temporary folder"
