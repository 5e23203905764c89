#!/usr/bin/env bash
# Recall against cost: first stages alone, and each with a second stage that re-ranks 1 to 100 videos.
#
#   tools/reproduce_efficiency.sh [OUT [SECOND.py NAME=FIRST.py ...]]
#
# Trains all first stages and, over the first of them, the second stage, three seeds each; puts the
# second stage behind the others too; and writes OUT/efficiency/efficiency.{md,png} and the report of
# the benchmark; from the folder that has the data. A training that has ended is not repeated, and one
# that was stopped goes on. SEEDS, VIDEOS and THREADS are read from the environment.
set -euo pipefail
repository="$(cd "$(dirname "$0")/.." && pwd)"
out="${1:-work_dirs/results}"
second="${2:-$repository/configs/conquer_anet_text.py}"
firsts=("${@:3}")
if [ $# -lt 3 ]; then
    firsts=(
        "ReLoCLNet=$repository/configs/relocl_anet_text.py"
        "ReLoCLNetPlus=$repository/configs/relocl_plus_anet_text.py"
        "XML=$repository/configs/xml_anet_text.py"
    )
fi
read -ra seeds <<< "${SEEDS:-0 1 2}"
read -ra numbers <<< "${VIDEOS:-1 5 10 20 50 100}"
tool() { python "$repository/tools/$1.py" "${@:2}"; }
# The checkpoint of the best epoch on the videos that training validates on.
best() { echo "$1"/best_*.pth; }
trained=''
rows=()
for named in "${firsts[@]}"; do
    name="${named%%=*}" first="${named#*=}"
    first_runs="$out/$(basename "$first" .py)"
    second_runs="$out/$(basename "$second" .py)_over_$(basename "$first" .py)"
    joined="$second_runs.py"
    for seed in "${seeds[@]}"; do
        run="$first_runs/seed_$seed" both="$second_runs/seed_$seed"
        tool train "$first" --seed "$seed" --work-dir "$run" --resume
        checkpoint="$(best "$run")" lists="$run/train_lists.safetensors"
        [ -f "$joined" ] || tool two_stage_config "$first" "$second" \
            --checkpoint "$checkpoint" --out "$joined"
        if [ -n "$trained" ]; then
            mkdir -p "$both"
            tool model_converters/join_stages "$checkpoint" "$(best "$trained/seed_$seed")" \
                "$both/best_joined.pth"
            continue
        fi
        [ -f "$lists" ] || tool first_stage_lists "$first" "$checkpoint" \
            --split train --out "$lists"
        tool train "$joined" --seed "$seed" --work-dir "$both" --resume \
            --cfg-options "model.first_stage.init_cfg.checkpoint=$checkpoint" \
            "train_dataloader.dataset.lists=$(realpath "$lists")"
    done
    trained="${trained:-$second_runs}"
    rows+=("$name=$first:$first_runs/seed_*/best_*.pth")
    for videos in "${numbers[@]}"; do
        rows+=("$name + CONQUER, top $videos=$joined:$second_runs/seed_*/best_*.pth --cfg-options model.num_videos=$videos")
    done
done
tool benchmark "${rows[@]}" --threads "${THREADS:-1}" --out "$out/efficiency"
tool analysis_tools/plot_efficiency "$out/efficiency/report.json" \
    --out "$out/efficiency/efficiency.png" --table "$out/efficiency/efficiency.md"
