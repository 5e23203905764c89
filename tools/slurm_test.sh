#!/usr/bin/env bash
# Test under Slurm: tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [OPTION ...]
# From the environment: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS, MASTER_PORT.
set -euo pipefail
. "$(dirname "$0")/launch.sh"
expect_arguments 'PARTITION JOB_NAME CONFIG CHECKPOINT' "$@"
slurm_run "$1" "$2" test.py "${@:3}"
