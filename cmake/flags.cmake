# SPDX-License-Identifier: Apache-2.0
#
# How everything of ours is compiled: the interface library rgm_flags, linked privately by each
# target. Nothing of it reaches users of the installed packages.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/bin)
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/archive)

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

add_library(rgm_flags INTERFACE)
target_link_libraries(rgm_flags INTERFACE Threads::Threads)
# A file may say so itself, to the same value: #define _GNU_SOURCE 1.
target_compile_definitions(rgm_flags INTERFACE _GNU_SOURCE=1)
target_include_directories(rgm_flags INTERFACE ${PROJECT_SOURCE_DIR}/regionmgr/include)
target_compile_options(rgm_flags INTERFACE
	# Internal headers are found by "folder/x.h" alone, never by <folder/x.h>.
	"SHELL:-iquote \"${PROJECT_SOURCE_DIR}\""
	-Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
	-fno-semantic-interposition
	-ffunction-sections -fdata-sections
	-ffile-prefix-map=${PROJECT_SOURCE_DIR}/=
	-ffile-prefix-map=${PROJECT_BINARY_DIR}=build)
target_link_options(rgm_flags INTERFACE -Wl,--as-needed -Wl,--gc-sections)

if(RGM_WERROR)
	target_compile_options(rgm_flags INTERFACE -Werror)
endif()

if(RGM_RACE_BUILD)
	target_compile_definitions(rgm_flags INTERFACE POOL_RACE_BUILD)
endif()

if(RGM_SANITIZE)
	# What the compiler knows of values it loses among the sanitizers' checks: the warnings that
	# rest on it are left to the other builds.
	target_compile_options(rgm_flags INTERFACE
		-fsanitize=${RGM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer
		-Wno-format-truncation -Wno-stringop-truncation -Wno-maybe-uninitialized)
	target_link_options(rgm_flags INTERFACE -fsanitize=${RGM_SANITIZE})
else()
	target_compile_options(rgm_flags INTERFACE
		$<$<NOT:$<CONFIG:Debug>>:-U_FORTIFY_SOURCE$<SEMICOLON>-D_FORTIFY_SOURCE=2>)
	# The runtimes of sanitizers are found when a program is loaded; all else must be named.
	set(RGM_LINK_DEFINED -Wl,-z,defs)
endif()

if(RGM_COVERAGE)
	target_compile_options(rgm_flags INTERFACE --coverage)
	target_link_options(rgm_flags INTERFACE --coverage)
endif()
