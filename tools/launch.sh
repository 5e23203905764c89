# What dist_*.sh and slurm_*.sh share, as in mmaction2's scripts of those names. To be sourced.

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# A clone need not be installed.
export PYTHONPATH="$(dirname "$TOOLS")${PYTHONPATH:+:$PYTHONPATH}"

# expect_arguments NAMES GIVEN...: end the script unless there is an argument for each of the names.
expect_arguments() {
    local names="$1" given=$(($# - 1)) expected
    expected=$(wc -w <<< "$names")
    if [ "$given" -lt "$expected" ]; then
        echo "error: $(basename "$0"): $given arguments, expected at least $expected;" \
            "call it as $0 $names [OPTION ...]" >&2
        exit 1
    fi
}

# dist_run GPUS TOOL ARGUMENT...: a process for each GPU of this machine, one of NNODES machines.
dist_run() {
    set -x
    python -m torch.distributed.run --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
        --nproc_per_node="$1" "$TOOLS/$2" "${@:3}" --launcher pytorch
}

# slurm_run PARTITION JOB_NAME TOOL ARGUMENT...: GPUS tasks, GPUS_PER_NODE of them on a machine.
slurm_run() {
    # Jobs of one machine must not meet at one port; mmengine reads it from here.
    export MASTER_PORT="${MASTER_PORT:-$((12000 + RANDOM % 20000))}"
    set -x
    # SRUN_ARGS is a list of words.
    # shellcheck disable=SC2086
    srun -p "$1" --job-name="$2" --gres=gpu:"${GPUS_PER_NODE:-8}" --ntasks="${GPUS:-8}" \
        --ntasks-per-node="${GPUS_PER_NODE:-8}" --cpus-per-task="${CPUS_PER_TASK:-5}" \
        --kill-on-bad-exit=1 ${SRUN_ARGS:-} python -u "$TOOLS/$3" "${@:4}" --launcher slurm
}
