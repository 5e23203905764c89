#!/usr/bin/env bash
# Train under Slurm: tools/slurm_train.sh PARTITION JOB_NAME CONFIG [OPTION ...]
# From the environment: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS, MASTER_PORT.
set -euo pipefail
. "$(dirname "$0")/launch.sh"
expect_arguments 'PARTITION JOB_NAME CONFIG' "$@"
slurm_run "$1" "$2" train.py "${@:3}"
