# SPDX-License-Identifier: Apache-2.0
#
# Libraries of others. The libraries of regionmgr need liburcu alone; cJSON and libarchive are for
# regionctl, cmocka for tests, LMDB for comparison in benches.

find_package(PkgConfig REQUIRED)

# rgm_need(<prefix> <module> <package>): find a library by pkg-config, or say what to install.
function(rgm_need prefix module package)
	pkg_check_modules(${prefix} QUIET IMPORTED_TARGET GLOBAL ${module})
	if(NOT ${prefix}_FOUND)
		message(FATAL_ERROR
			"${module} was not found: apt-get install ${package}\n"
			"(all that is needed stands in scripts/packages-build.txt)")
	endif()
endfunction()

rgm_need(URCU_BP liburcu-bp liburcu-dev)
rgm_need(URCU_CDS liburcu-cds liburcu-dev)
rgm_need(CJSON libcjson libcjson-dev)
rgm_need(ARCHIVE libarchive libarchive-dev)
