#!/usr/bin/env bash
# Train what docs/results.md compares on ActivityNet Captions as text, three seeds each, and write
# the report; from the folder that has data/anet_text. A training that has ended is not repeated, and
# one that was stopped goes on.
set -euo pipefail
repository="$(cd "$(dirname "$0")/.." && pwd)"
out="${1:-work_dirs/results}"
trained=(
    'ReLoCLNet=relocl_anet_text'
    'without VideoCL=relocl_anet_text_no_videocl'
    'without FrameCL=relocl_anet_text_no_framecl'
    'without both=relocl_anet_text_no_contrastive'
    'lse in place of hinge=relocl_anet_text_lse'
    'no hard negatives=relocl_anet_text_easy_negatives'
    'XML=xml_anet_text'
    'ReLoCLNetPlus=relocl_plus_anet_text'
)
untrained=(
    'nearest sentence=nearest_sentence_anet_text'
    'nearest clip=nearest_clip_anet_text'
    'chance=chance_anet_text'
)
rows=()
for row in "${trained[@]}"; do
    model="${row#*=}"
    for seed in 0 1 2; do
        python "$repository/tools/train.py" "$repository/configs/$model.py" \
            --seed "$seed" --work-dir "$out/$model/seed_$seed" --resume
    done
    # That of the best epoch on held-out training videos.
    rows+=("${row%%=*}=$repository/configs/$model.py:$out/$model/seed_*/best_*.pth")
done
for row in "${untrained[@]}"; do
    rows+=("${row%%=*}=$repository/configs/${row#*=}.py")
done
python "$repository/tools/benchmark.py" "${rows[@]}" --out "$out/report"
