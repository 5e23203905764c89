# CONQUER over ReLoCLNet on TVR: the recipe of CONQUER's authors. The stages see other features.
_base_ = [
    'relocl_tvr.py',
    '_base_/models/conquer.py',
    '_base_/datasets/reranking.py',
    '_base_/schedules/second_stage.py',
]

# Weights of the first stage, with which the lists of the training queries are made.
first_checkpoint = 'work_dirs/relocl_tvr/best.pth'

# ResNet-152 and SlowFast, 2048 + 2304; text as in the first stage, but not normalized.
second_files = dict(_base_.feature_files)
second_files.update(video='tvr_resnet152_slowfast_cl-1.5.h5')
second_data = dict(
    feature_files=second_files,
    channels=dict(video=4352, subtitle=768, query=768),
    normalize=['video'],
    clip_length=1.5,
    max_clips=100,
    max_tokens=30,
)
schedule = _base_.second_stage_schedule

model = dict(
    _delete_=True,
    type='TwoStageRetriever',
    first_stage=dict(**_base_.model, init_cfg=dict(type='Pretrained', checkpoint=first_checkpoint)),
    second_stage=_base_.second_stage,
    num_videos=_base_.num_reranked,
    # Moments of 1 to 24 clips; suppression as in the published results.
    test_cfg=dict(
        num_videos=100,
        alpha=30.0,
        min_span=1,
        max_span=25,
        num_moments=100,
        span_end='inclusive',
        nms_iou=0.7,
    ),
)
model['second_stage'].update(
    streams=dict(video=second_data['channels']['video'], subtitle=768),
    query_channels=second_data['channels']['query'],
)
model['second_stage']['query_encoder'].update(max_tokens=second_data['max_tokens'])
model['second_stage']['context_encoder'].update(max_clips=second_data['max_clips'])

clip_transforms = [
    dict(type='LoadClipFeatures'),
    dict(type='PoolClips'),
    dict(type='NormalizeFeatures'),
]
train_pipeline = [
    dict(type='LoadQueryFeatures'),
    dict(type='ForEachVideo', transforms=clip_transforms),
    dict(type='MomentToSpan', span_end='inclusive'),
    dict(type='PackMomentInputs'),
]
second_queries = dict(
    pipeline=[dict(type='LoadQueryFeatures'), dict(type='PackMomentInputs')], **second_data
)
second_corpus = dict(pipeline=[*clip_transforms, dict(type='PackMomentInputs')], **second_data)

train_dataloader = dict(
    batch_size=schedule.batch_size,
    dataset=dict(
        type='RerankingDataset',
        lists=_base_.reranking_lists,
        pipeline=train_pipeline,
        **second_data,
    ),
)
val_dataloader = dict(dataset=dict(second_stage=second_queries))
val_corpus_dataloader = dict(dataset=dict(second_stage=second_corpus))
test_dataloader = val_dataloader
test_corpus_dataloader = val_corpus_dataloader

train_cfg = schedule.train_cfg
optim_wrapper = dict(_delete_=True, **schedule.optim_wrapper)
param_scheduler = schedule.param_scheduler
early_stopping = _base_.early_stopping
early_stopping.update(patience=schedule.patience)
custom_hooks = [early_stopping, _base_.recall_table]
