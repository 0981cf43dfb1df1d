/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Read by clang-tidy before each source (scripts/lint.sh): what the analyzer cannot see by itself. A
 * call that tells a failure returns its code, which is never 0; without that it would walk the paths
 * on which a function has failed and says it has not.
 */
#include "pool/error.h"

#define pool_fail(error, code, ...) (pool_fail(error, code, __VA_ARGS__), (code))
#define pool_fail_errno(error, ...) (pool_fail_errno(error, __VA_ARGS__), -5)
