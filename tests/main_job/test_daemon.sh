#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job, scaled down, with regionmgrd. A race build has manager and readers in one process.
# label: quick
set -euo pipefail

if [ "${RGM_TEST_RACE_BUILD:-0}" = 1 ]; then
	exec "$RGM_TEST_BIN_DIR/main_job" --threads-only --seed "${RGM_TEST_SEED:-0}"
fi
exec "$RGM_TEST_BIN_DIR/main_job" --bin "$RGM_TEST_BIN_DIR" --seed "${RGM_TEST_SEED:-0}"
