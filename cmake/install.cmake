# SPDX-License-Identifier: Apache-2.0
#
# Installing to any prefix. Everything installed finds the rest relative to itself, so an installed
# tree may be moved as a whole.

if(NOT RGM_HAVE_LIBRARIES)
	message(STATUS "installation is left out")
	return()
endif()

include(CMakePackageConfigHelpers)

install(TARGETS regionmgr regionmgr-manager EXPORT regionmgrTargets
	LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY regionmgr/include/regionmgr DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
	FILES_MATCHING PATTERN "*.h")

# pkg-config: the prefix is told from the place of the .pc file.
set(rgm_pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
file(RELATIVE_PATH rgm_pc_to_prefix
	${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" rgm_pc_to_prefix "${rgm_pc_to_prefix}")
foreach(name regionmgr regionmgr-manager)
	configure_file(cmake/${name}.pc.in ${PROJECT_BINARY_DIR}/${name}.pc @ONLY)
	install(FILES ${PROJECT_BINARY_DIR}/${name}.pc DESTINATION ${rgm_pc_dir})
endforeach()

# CMake: find_package(regionmgr), targets regionmgr::regionmgr and regionmgr::manager.
set(rgm_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/regionmgr)
install(EXPORT regionmgrTargets NAMESPACE regionmgr:: DESTINATION ${rgm_cmake_dir})
configure_package_config_file(cmake/regionmgrConfig.cmake.in
	${PROJECT_BINARY_DIR}/regionmgrConfig.cmake INSTALL_DESTINATION ${rgm_cmake_dir})
# Until 1.0 a minor version may change the interface.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/regionmgrConfigVersion.cmake
	COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/regionmgrConfig.cmake
	${PROJECT_BINARY_DIR}/regionmgrConfigVersion.cmake DESTINATION ${rgm_cmake_dir})

install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
