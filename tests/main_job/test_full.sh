#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job in full: 16 processes of 8 threads, libs from 280 MB past 500 MB.
# label: torture
# serial: yes
set -euo pipefail

if [ "${RGM_TEST_RACE_BUILD:-0}" = 1 ]; then
	exec "$RGM_TEST_BIN_DIR/main_job" --threads-only --seconds 60 \
		--seed "${RGM_TEST_SEED:-0}"
fi
"$RGM_TEST_BIN_DIR/main_job" --bin "$RGM_TEST_BIN_DIR" --scale full --seed "${RGM_TEST_SEED:-0}"
"$RGM_TEST_BIN_DIR/main_job" --embedded --scale full --seed "${RGM_TEST_SEED:-0}"
