#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The main job, scaled down, with the manager library inside the driver. In a race build readers are
# threads beside it.
# label: quick
set -euo pipefail

way=--embedded
if [ "${RGM_TEST_RACE_BUILD:-0}" = 1 ]; then
	way=--threads-only
fi
exec "$RGM_TEST_BIN_DIR/main_job" "$way" --seed "${RGM_TEST_SEED:-0}"
