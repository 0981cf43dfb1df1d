# SPDX-License-Identifier: Apache-2.0
# Sourced by check.sh and demo.sh: see to the packages of some lists.
#
# packages_need LOG LIST…: what is installed is looked up first, so that with all present neither
# root nor a network is needed. What is missing is installed as root or through sudo, with apt's
# words in LOG. Where that cannot be done the line that would do it is printed, and the script ends
# with exit code 2. A system without dpkg is left to CMake, which names what it does not find.

packages_need()
{
	local log=$1 list package missing=() wanted=() installed sudo=()
	shift
	command -v dpkg-query > /dev/null || return 0
	for list in "$@"; do
		while read -r package; do
			[[ -z $package || $package == '#'* ]] || wanted+=("$package")
		done < "$list"
	done
	installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${wanted[@]}" 2> /dev/null || true)
	for package in "${wanted[@]}"; do
		grep -qxF "$package installed" <<< "$installed" || missing+=("$package")
	done
	((${#missing[@]})) || return 0

	local line="apt-get install -y --no-install-recommends ${missing[*]}"
	if [[ $(id -u) != 0 ]]; then
		# Without a terminal nobody could type a password.
		if ! command -v sudo > /dev/null || { [[ ! -t 0 ]] && ! sudo -n true 2> /dev/null; }; then
			printf 'packages are missing; as root:\n  %s\n' "$line" >&2
			exit 2
		fi
		sudo=(sudo)
	fi
	printf 'installing %s\n' "${missing[*]}" >&2
	mkdir -p "$(dirname "$log")"
	if ! { "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -q &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y \
			--no-install-recommends "${missing[@]}"; } < /dev/null > "$log" 2>&1; then
		tail -n 5 "$log" >&2
		printf 'packages could not be installed (log: %s); as root:\n  %s\n' "$log" "$line" >&2
		exit 2
	fi
}
