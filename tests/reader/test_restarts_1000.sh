#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# label: torture
# test_reader_restarts with a thousand restarts in each case.
set -euo pipefail
RGM_TEST_RESTARTS=1000 exec "$RGM_TEST_BUILD_DIR/tests/test_reader_restarts"
