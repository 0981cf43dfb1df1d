/* SPDX-License-Identifier: Apache-2.0 */
/* SHADOW_MEMORY: a sanitizer keeps memory of its own for each byte touched, and takes its time. */
#ifndef TESTS_POOL_SANITIZERS_H
#define TESTS_POOL_SANITIZERS_H

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SHADOW_MEMORY
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define SHADOW_MEMORY
#endif
#endif

#endif
