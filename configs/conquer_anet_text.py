# CONQUER over ReLoCLNet on ActivityNet Captions as text, one stream; small enough for a CPU.
_base_ = [
    'relocl_anet_text.py',
    '_base_/models/conquer.py',
    '_base_/datasets/reranking.py',
    '_base_/schedules/second_stage.py',
]

# Weights of the first stage, with which the lists of the training queries are made.
first_checkpoint = 'work_dirs/relocl_anet_text/epoch_4.pth'

embed_dims = 128
num_heads = 4
feedforward_dims = 256
max_epochs = 2
# With the authors' 1e-4 the training loss falls more slowly.
lr = 5e-4
schedule = _base_.second_stage_schedule

model = dict(
    _delete_=True,
    type='TwoStageRetriever',
    first_stage=dict(**_base_.model, init_cfg=dict(type='Pretrained', checkpoint=first_checkpoint)),
    second_stage=_base_.second_stage,
    num_videos=_base_.num_reranked,
    # Moments of any length may be answered.
    test_cfg=dict(
        num_videos=100,
        # Chosen among 10, 20, 40, 80 and 160 on held-out training videos.
        alpha=80.0,
        min_span=1,
        max_span=_base_.max_clips + 1,
        num_moments=100,
        span_end='inclusive',
    ),
)
model['second_stage'].update(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    embed_dims=embed_dims,
    num_heads=num_heads,
    feedforward_dims=feedforward_dims,
)
model['second_stage']['query_encoder'].update(max_tokens=_base_.max_tokens)
model['second_stage']['context_encoder'].update(max_clips=_base_.max_clips)

train_dataloader = dict(
    batch_size=schedule.batch_size,
    dataset=dict(
        type='RerankingDataset',
        lists=_base_.reranking_lists,
        pipeline=_base_.reranking_pipeline,
    ),
)

train_cfg = dict(max_epochs=max_epochs)
optim_wrapper = dict(_delete_=True, **schedule.optim_wrapper)
optim_wrapper['optimizer'].update(lr=lr)
param_scheduler = schedule.param_scheduler
early_stopping = _base_.early_stopping
early_stopping.update(patience=schedule.patience)
custom_hooks = [early_stopping, _base_.recall_table]
