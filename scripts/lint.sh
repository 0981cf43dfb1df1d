#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The static checks that need a tool of their own; CTest runs each as lint_….
#
#   scripts/lint.sh format            clang-format-14 would change nothing
#   scripts/lint.sh tidy FOLDER       clang-tidy-14 has nothing to say (needs build/dev)
#   scripts/lint.sh doxygen           the public headers' comments are whole
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=${RGM_TEST_BUILD_DIR:-build/dev}

need()
{
	command -v "$1" > /dev/null || {
		printf 'SKIP lint_%s: %s is not installed\n' "$what" "$1"
		exit 77
	}
}

sources()
{
	find "$@" -name build -prune -o -name '*.[ch]' -print | sort
}

what=${1:?format, tidy or doxygen}
case $what in
format)
	need clang-format-14
	sources pool ipc dimensions regionmgr tests bench examples |
		xargs clang-format-14 --dry-run -Werror
	;;
tidy)
	need clang-tidy-14
	# What the build compiles: a file that it leaves out has no flags to be read with.
	mapfile -t files < <(sources "${2:?a folder}" | grep '\.c$' | while read -r file; do
		grep -qF "$PWD/$file\"" "$build/compile_commands.json" && echo "$file"
	done)
	((${#files[@]})) || exit 0
	# One process a file: the analyzer of this version keeps state from one file to the next.
	status=0
	for file in "${files[@]}"; do
		facts=(--extra-arg=-include --extra-arg="$PWD/cmake/analyzer.h")
		[[ $file != pool/error*.c ]] || facts=()
		clang-tidy-14 --quiet --warnings-as-errors='*' -p "$build" "${facts[@]}" "$file" \
			2> /dev/null || status=1
	done
	exit $status
	;;
doxygen)
	need doxygen
	mkdir -p "$build/doxygen"
	{
		cat Doxyfile
		printf 'OUTPUT_DIRECTORY = "%s/doxygen"\n' "$build"
	} | doxygen -
	;;
*)
	sed -n '/^#   /s/^# //p' "${BASH_SOURCE[0]}" >&2
	exit 2
	;;
esac
