#!/usr/bin/env bash
# Train with GPUS processes on this machine, one of NNODES: tools/dist_train.sh CONFIG GPUS [OPTION ...]
# From the environment: NNODES, NODE_RANK, MASTER_ADDR, PORT.
set -euo pipefail
. "$(dirname "$0")/launch.sh"
expect_arguments 'CONFIG GPUS' "$@"
dist_run "$2" train.py "$1" "${@:3}"
