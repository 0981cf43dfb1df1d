# SPDX-License-Identifier: Apache-2.0
#
# regionmgrd, regionctl, and the main job that demo.sh runs. Their sources but main.c are also
# static libraries, rgm_daemon and rgm_cli, so that tests reach internals.

file(RELATIVE_PATH rgm_bin_to_lib
	${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})

# rgm_program(<name> <piece> <folder> [LINK <target>…])
function(rgm_program name piece folder)
	cmake_parse_arguments(PARSE_ARGV 3 arg "" "" "LINK")
	file(GLOB main CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/${folder}/main.c)
	rgm_piece(${piece} ${folder} LINK ${arg_LINK})
	if(NOT main OR NOT RGM_HAVE_LIBRARIES)
		message(STATUS "${name} is left out")
		return()
	endif()
	add_executable(${name} ${main} ${${piece}_OBJECTS})
	target_link_libraries(${name}
		PRIVATE rgm_flags regionmgr-manager regionmgr ${arg_LINK} rgm_ipc rgm_pool)
	set_target_properties(${name} PROPERTIES INSTALL_RPATH "$ORIGIN/${rgm_bin_to_lib}")
	install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endfunction()

# The daemon shares options, settings and how text is escaped with the command line; of the archive
# only what it uses is linked.
rgm_program(regionctl rgm_cli regionmgr/cli LINK PkgConfig::CJSON PkgConfig::ARCHIVE)
rgm_program(regionmgrd rgm_daemon regionmgr/daemon LINK rgm_cli PkgConfig::CJSON)

# The main job uses public functions alone, as a stranger's program would. In a race build manager
# and readers must share one copy of pool/, or each library has mappings of its own.
file(GLOB rgm_main_job CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/main_job/*.c)
list(FILTER rgm_main_job EXCLUDE REGEX "/test_[^/]*$")
if(rgm_main_job AND RGM_HAVE_LIBRARIES)
	add_executable(main_job ${rgm_main_job})
	if(RGM_RACE_BUILD)
		target_link_libraries(main_job PRIVATE rgm_flags rgm_manager m)
	else()
		target_link_libraries(main_job PRIVATE rgm_flags regionmgr-manager regionmgr m)
	endif()
else()
	message(STATUS "main_job is left out")
endif()
