default_scope = 'reloclnet_mm'
# mmengine's Runner with a quiet console, for processes with and without a GPU.
runner_type = 'reloclnet_mm.AnyDeviceRunner'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    # A line every 50 iterations, and at the latest after 10 seconds.
    logger=dict(type='ProgressLoggerHook', interval=50, seconds=10),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='AtomicCheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='VCMR/R1@0.5+0.7',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    check_data=dict(type='DataCheckHook'),
    check_checkpoint=dict(type='CheckpointCheckHook'),
    finite_loss=dict(type='FiniteLossHook'),
    collapse_warning=dict(type='CollapseWarningHook'),
    # Models without training, in the table of a test and at the end of a training; sentences where
    # tools/extract_text_features.py sentences … --rows sentences has written these files.
    baselines=dict(
        type='BaselineHook',
        nearest_clip=dict(),
        nearest_sentence=dict(
            feature_files=dict(subtitle='sentences.h5', times='sentences_times.h5'), max_tokens=64
        ),
    ),
    # draw=True draws ranked moments, which needs matplotlib.
    visualization=dict(type='MomentVisualizationHook', draw=False),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # A process that waits this long, in seconds, for another ends the run.
    dist_cfg=dict(backend='nccl', timeout=1800),
)
# Each process draws its own dropout and negatives; the order of the samples is common.
randomness = dict(seed=2018, diff_rank_seed=True)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
log_level = 'INFO'

load_from = None
resume = False
