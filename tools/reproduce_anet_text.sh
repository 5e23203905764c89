#!/usr/bin/env bash
# Train what docs/results.md compares on ActivityNet Captions as text, three seeds each, and write
# the report; from the folder that has data/anet_text. A training that has ended is not repeated, and
# one that was stopped goes on.
set -euo pipefail
repository="$(cd "$(dirname "$0")/.." && pwd)"
out="${1:-work_dirs/results}"
models=(
    relocl_anet_text
    relocl_anet_text_no_videocl
    relocl_anet_text_no_framecl
    relocl_anet_text_no_contrastive
    relocl_anet_text_lse
    relocl_anet_text_easy_negatives
    xml_anet_text
)
rows=()
for model in "${models[@]}"; do
    for seed in 0 1 2; do
        python "$repository/tools/train.py" "$repository/configs/$model.py" \
            --seed "$seed" --work-dir "$out/$model/seed_$seed" --resume
    done
    rows+=("$repository/configs/$model.py:$out/$model/seed_*/epoch_4.pth")
done
for model in nearest_sentence nearest_clip chance; do
    rows+=("$repository/configs/${model}_anet_text.py")
done
python "$repository/tools/benchmark.py" "${rows[@]}" --out "$out/report"
