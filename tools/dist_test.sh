#!/usr/bin/env bash
# Test with GPUS processes on this machine, one of NNODES:
# tools/dist_test.sh CONFIG CHECKPOINT GPUS [OPTION ...]
# From the environment: NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
. "$(dirname "$0")/launch.sh"
expect_arguments 'CONFIG CHECKPOINT GPUS' "$@"
dist_run "$3" test.py "$1" "$2" "${@:4}"
