#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: long
# test_manager_protocol for an hour less what a test may take: RGM_TEST_SECONDS (1700) in each of two cases.
set -euo pipefail
RGM_TEST_SECONDS=${RGM_TEST_SECONDS:-1700} exec "$RGM_TEST_BUILD_DIR/tests/test_manager_protocol"
