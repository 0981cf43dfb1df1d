# SPDX-License-Identifier: Apache-2.0
#
# Tests, found by their names: tests/<area>/test_<x>.{c,sh,py} is the test test_<area>_<x>.
#
# A test is quick unless one of its first lines says otherwise: `label: torture` (or slow, crash, fuzz,
# long, models) in a comment. `serial: yes` keeps other tests from running beside it. Exit code 77 means
# skipped; a reason is given by a line `SKIP <test>: <reason>`, also for a part of a test.
#
# Tests in C are linked with the static pieces and with tests/support/*.c, so they reach internals.

pkg_check_modules(CMOCKA QUIET IMPORTED_TARGET cmocka)
find_program(RGM_BASH bash)
find_program(RGM_PYTHON python3)

set(rgm_test_environment
	RGM_TEST_SOURCE_DIR=${PROJECT_SOURCE_DIR}
	RGM_TEST_BUILD_DIR=${PROJECT_BINARY_DIR}
	RGM_TEST_BIN_DIR=${CMAKE_RUNTIME_OUTPUT_DIRECTORY}
	RGM_TEST_LIB_DIR=${CMAKE_LIBRARY_OUTPUT_DIRECTORY}
	RGM_TEST_SANITIZE=${RGM_SANITIZE}
	RGM_TEST_RACE_BUILD=$<BOOL:${RGM_RACE_BUILD}>
	RGM_TEST_CC=${CMAKE_C_COMPILER}
	RGM_TEST_CMAKE=${CMAKE_COMMAND}
	PYTHONDONTWRITEBYTECODE=1
	"ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1:strict_string_checks=1"
	"UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1"
	"TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions='${PROJECT_SOURCE_DIR}/cmake/tsan.supp'")

# rgm_register(<name> <source> <command>…): add a test with what its first lines ask for.
function(rgm_register name source)
	set(test ${RGM_TEST_PREFIX}${name})
	add_test(NAME ${test} COMMAND ${ARGN})
	file(STRINGS ${source} head LIMIT_COUNT 12)
	set(labels quick)
	set(serial OFF)
	foreach(line IN LISTS head)
		if(line MATCHES "label: ([a-z]+( [a-z]+)*)")
			string(REPLACE " " ";" labels "${CMAKE_MATCH_1}")
		endif()
		if(line MATCHES "serial: yes")
			set(serial ON)
		endif()
	endforeach()
	set(timeout 300)
	if("models" IN_LIST labels)
		set(timeout 1200) # half a minute where nothing else computes
	endif()
	if("torture" IN_LIST labels OR "long" IN_LIST labels)
		set(timeout 3600)
	endif()
	set_tests_properties(${test} PROPERTIES
		LABELS "${labels}"
		RUN_SERIAL ${serial}
		TIMEOUT ${timeout}
		SKIP_RETURN_CODE 77
		ENVIRONMENT "${rgm_test_environment};RGM_TEST_NAME=${test}")
endfunction()

# rgm_test_name(<ret> <source>): tests/pool/test_pages.c -> test_pool_pages
function(rgm_test_name ret_name source)
	get_filename_component(stem ${source} NAME_WE)
	get_filename_component(folder ${source} DIRECTORY)
	get_filename_component(area ${folder} NAME)
	string(REGEX REPLACE "^test_" "test_${area}_" name ${stem})
	set(${ret_name} ${name} PARENT_SCOPE)
endfunction()

if(CMOCKA_FOUND)
	file(GLOB support CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/support/*.c)
	if(support)
		add_library(rgm_test_support STATIC ${support})
		target_link_libraries(rgm_test_support PRIVATE rgm_flags PkgConfig::CMOCKA)
		set(rgm_test_support rgm_test_support)
	endif()
	# What a folder's tests are linked with: those of the pool need nothing above it, those of the
	# kinds also read what was written.
	set(rgm_test_pool rgm_pool)
	set(rgm_test_ipc rgm_ipc)
	set(rgm_test_dimensions rgm_reader)
	set(rgm_test_any rgm_cli rgm_daemon rgm_manager rgm_reader)

	file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tests/*/test_*.c)
	foreach(source IN LISTS sources)
		rgm_test_name(name ${source})
		add_executable(${name} ${source})
		get_filename_component(folder ${source} DIRECTORY)
		get_filename_component(area ${folder} NAME)
		if(NOT DEFINED rgm_test_${area})
			set(area any)
		endif()
		target_link_libraries(${name} PRIVATE
			rgm_flags ${rgm_test_support} ${rgm_test_${area}} PkgConfig::CMOCKA m)
		set_target_properties(${name} PROPERTIES
			RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/tests)
		if(RGM_RACE_BUILD)
			# What needs several processes is not in the list of tests there.
			target_compile_options(${name} PRIVATE -Wno-unused-function)
		endif()
		rgm_register(${name} ${source} ${name})
	endforeach()
else()
	message(STATUS "cmocka was not found: tests in C are left out (apt-get install libcmocka-dev)")
endif()

file(GLOB scripts CONFIGURE_DEPENDS
	${PROJECT_SOURCE_DIR}/tests/*/test_*.sh ${PROJECT_SOURCE_DIR}/tests/*/test_*.py)
foreach(script IN LISTS scripts)
	rgm_test_name(name ${script})
	if(script MATCHES "\\.py$")
		set(interpreter ${RGM_PYTHON})
	else()
		set(interpreter ${RGM_BASH})
	endif()
	# What is installed does not depend on sanitizers, and a program linked with a sanitized library
	# needs the sanitizer too.
	if(script MATCHES "/tests/build/" AND (RGM_SANITIZE OR RGM_COVERAGE))
		continue()
	endif()
	# Models do not depend on any build: of those that check.sh makes, the one without a prefix checks
	# them, and the release the long ones.
	if(script MATCHES "/tests/models/")
		file(STRINGS ${script} long LIMIT_COUNT 12 REGEX "label: .*long")
		if(RGM_SANITIZE OR RGM_COVERAGE OR (RGM_TEST_PREFIX AND NOT long))
			continue()
		endif()
	endif()
	if(interpreter)
		rgm_register(${name} ${script} ${interpreter} ${script})
		# Begun first, being the longest: they wait for programs.
		set_tests_properties(${RGM_TEST_PREFIX}${name} PROPERTIES COST 10)
	endif()
endforeach()

if(RGM_LINT)
	# The slow static checks, a test for each folder that clang-tidy reads.
	set(lint ${PROJECT_SOURCE_DIR}/scripts/lint.sh)
	set(tidy pool ipc dimensions regionmgr/reader regionmgr/manager regionmgr/daemon regionmgr/cli
		tests bench)
	list(TRANSFORM tidy PREPEND "tidy ")
	foreach(what format doxygen ${tidy})
		string(REPLACE " " ";" arguments "${what}")
		string(REGEX REPLACE "[ /]" "_" name "lint_${what}")
		add_test(NAME ${RGM_TEST_PREFIX}${name} COMMAND ${RGM_BASH} ${lint} ${arguments})
		set_tests_properties(${RGM_TEST_PREFIX}${name} PROPERTIES
			LABELS lint TIMEOUT 1200 COST 100 SKIP_RETURN_CODE 77 ENVIRONMENT "${rgm_test_environment}")
	endforeach()
endif()
