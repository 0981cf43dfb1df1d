# SPDX-License-Identifier: Apache-2.0
#
# Benches: bench/bench_<x>.c is the bench of that name; the other sources of the folder are common
# to all. They call the shared libraries, as users do; pool/ is there for what is below those. One that
# says "measures: internals" in its first lines is linked with the static pieces instead, as tests are.
# Peers that are not installed are left out, and their rows say "absent".

file(GLOB rgm_benches CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/bench_*.c)
file(GLOB rgm_bench_common CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*.c)
list(FILTER rgm_bench_common EXCLUDE REGEX "/bench_[^/]*$")

if(NOT rgm_benches OR NOT RGM_HAVE_LIBRARIES)
	message(STATUS "benches are left out")
	return()
endif()

pkg_check_modules(URCU_MEMB QUIET IMPORTED_TARGET liburcu-memb)
pkg_check_modules(URCU_QSBR QUIET IMPORTED_TARGET liburcu-qsbr)
pkg_check_modules(LMDB QUIET IMPORTED_TARGET lmdb)
pkg_check_modules(SQLITE QUIET IMPORTED_TARGET sqlite3)

add_library(rgm_bench INTERFACE)
target_link_libraries(rgm_bench INTERFACE rgm_flags PkgConfig::URCU_BP m)
foreach(peer URCU_MEMB URCU_QSBR LMDB SQLITE)
	if(${peer}_FOUND)
		target_link_libraries(rgm_bench INTERFACE PkgConfig::${peer})
		target_compile_definitions(rgm_bench INTERFACE HAVE_${peer}=1)
	endif()
endforeach()
target_compile_definitions(rgm_bench INTERFACE HAVE_URCU_BP=1)

add_library(rgm_bench_common OBJECT ${rgm_bench_common})
target_link_libraries(rgm_bench_common PRIVATE rgm_bench)
foreach(source IN LISTS rgm_benches)
	get_filename_component(name ${source} NAME_WE)
	add_executable(${name} ${source} $<TARGET_OBJECTS:rgm_bench_common>)
	file(STRINGS ${source} head LIMIT_COUNT 12)
	if(head MATCHES "measures: internals")
		target_link_libraries(${name} PRIVATE rgm_bench rgm_manager rgm_reader)
	else()
		target_link_libraries(${name} PRIVATE rgm_bench regionmgr-manager regionmgr rgm_pool)
	endif()
	set_target_properties(${name} PROPERTIES
		RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bench)
endforeach()
