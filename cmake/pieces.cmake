# SPDX-License-Identifier: Apache-2.0
#
# The folders as static libraries, and the two shared libraries made of them.
#
#     rgm_pool rgm_ipc rgm_dimensions       tiers 1 and 2
#     rgm_reader rgm_manager                tier 3; tests link these and so reach internals
#     regionmgr          libregionmgr.so          reader and what it uses of the tiers below
#     regionmgr-manager  libregionmgr-manager.so  manager, likewise, beside libregionmgr.so
#
# A shared library is linked from the objects, not the archives: a public function that nothing
# inside refers to would be left out of the latter. What it does not reach is dropped by the linker.

# rgm_piece(<name> <folder> [LINK <target>…]): all of a folder's sources. <name>_objects and <name>
# exist also while the folder is empty, as libraries with nothing in them.
function(rgm_piece name folder)
	cmake_parse_arguments(PARSE_ARGV 2 arg "" "" "LINK")
	file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/*.c)
	list(FILTER sources EXCLUDE REGEX "/main\\.c$")
	if(NOT sources)
		message(STATUS "${folder}/ has no sources: left out")
		add_library(${name} INTERFACE)
		set(${name}_OBJECTS "" PARENT_SCOPE)
		return()
	endif()
	add_library(${name}_objects OBJECT ${sources})
	target_link_libraries(${name}_objects PRIVATE rgm_flags ${arg_LINK})
	add_library(${name} STATIC $<TARGET_OBJECTS:${name}_objects>)
	set_target_properties(${name} PROPERTIES LINKER_LANGUAGE C)
	target_link_libraries(${name} PUBLIC ${arg_LINK})
	set(${name}_OBJECTS $<TARGET_OBJECTS:${name}_objects> PARENT_SCOPE)
endfunction()

rgm_piece(rgm_pool pool)
rgm_piece(rgm_ipc ipc LINK rgm_pool)
rgm_piece(rgm_dimensions dimensions LINK rgm_pool)
rgm_piece(rgm_reader regionmgr/reader LINK rgm_ipc rgm_dimensions rgm_pool PkgConfig::URCU_BP)
rgm_piece(rgm_manager regionmgr/manager
	LINK rgm_reader rgm_ipc rgm_dimensions rgm_pool PkgConfig::URCU_BP PkgConfig::URCU_CDS)

# rgm_shared(<target> <map> <objects>…): a shared library that exports what its map lists.
function(rgm_shared target map)
	add_library(${target} SHARED ${ARGN})
	set_target_properties(${target} PROPERTIES
		LINKER_LANGUAGE C
		VERSION ${PROJECT_VERSION}
		SOVERSION ${RGM_SOVERSION}
		LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/${map}
		INSTALL_RPATH "$ORIGIN")
	target_link_libraries(${target} PRIVATE rgm_flags)
	# Thread-exit and fork handlers point into the library: it stays once it was loaded. Its calls
	# are bound then, too: not one by one in the first attach, where each costs a microsecond.
	target_link_options(${target} PRIVATE ${RGM_LINK_DEFINED} -Wl,-z,nodelete -Wl,-z,now
		-Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/${map})
	target_include_directories(${target} INTERFACE
		$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/regionmgr/include>
		$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endfunction()

set(rgm_below ${rgm_pool_OBJECTS} ${rgm_ipc_OBJECTS} ${rgm_dimensions_OBJECTS})
if(rgm_reader_OBJECTS)
	rgm_shared(regionmgr regionmgr.map ${rgm_reader_OBJECTS} ${rgm_below})
	target_link_libraries(regionmgr PRIVATE PkgConfig::URCU_BP)
endif()
if(rgm_manager_OBJECTS AND rgm_reader_OBJECTS)
	rgm_shared(regionmgr-manager regionmgr-manager.map ${rgm_manager_OBJECTS} ${rgm_below})
	target_link_libraries(regionmgr-manager
		PUBLIC regionmgr PRIVATE PkgConfig::URCU_BP PkgConfig::URCU_CDS)
	set_target_properties(regionmgr-manager PROPERTIES EXPORT_NAME manager)
	set(RGM_HAVE_LIBRARIES ON)
endif()

if(RGM_SANITIZE MATCHES "thread")
	foreach(piece rgm_reader rgm_manager)
		if(${piece}_OBJECTS)
			target_compile_options(${piece}_objects PRIVATE
				"SHELL:-include \"${PROJECT_SOURCE_DIR}/cmake/tsan_urcu.h\"")
		endif()
	endforeach()
endif()
