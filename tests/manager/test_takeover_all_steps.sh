#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: torture
# test_manager_takeover_steps behind every store, instead of some of them.
set -euo pipefail
RGM_TEST_STEPS=100000 exec "$RGM_TEST_BUILD_DIR/tests/test_manager_takeover_steps"
