#!/usr/bin/env bash
# Train ReLoCLNetPlus without each of its parts, for four epochs, and list the recalls of the best epoch
# on held-out training videos; from the folder that has data/anet_text. A training that has ended is not
# repeated.
set -euo pipefail
repository="$(cd "$(dirname "$0")/.." && pwd)"
out="${1:-work_dirs/plus_parts}"
short='train_cfg.max_epochs=4 param_scheduler.1.T_max=4'
parts=(
    'whole='
    'no_noise=model.query_encoder.noise=0 model.context_encoder.noise=0'
    'no_average=custom_hooks.3.momentum=0.9999'
    'no_context=model.query_encoder.scale=0 model.context_encoder.scale=0'
    'batches_of_128=train_dataloader.batch_size=128'
    'no_dropout=model.input_dropout=0 model.dropout=0'
    'little_decay=optim_wrapper.optimizer.weight_decay=0.01'
)
for part in "${parts[@]}"; do
    # The settings are words.
    # shellcheck disable=SC2086
    python "$repository/tools/train.py" "$repository/configs/relocl_plus_anet_text.py" --seed "${SEED:-0}" \
        --work-dir "$out/${part%%=*}" --resume --cfg-options $short ${part#*=}
done
for part in "${parts[@]}"; do
    echo "${part%%=*}"
    # A line an epoch: its number in brackets, then the recalls.
    grep -h 'Epoch(val)' "$out/${part%%=*}"/*/*.log | grep 'VR/R1' |
        grep -oE '\[[0-9]+\]|(VR/R1|VR/R10|SVMR/R1@0.[57]|VCMR/R10?@0.[57]): [0-9.]+' |
        paste -sd' ' | sed 's/ \[/\n[/g'
done
