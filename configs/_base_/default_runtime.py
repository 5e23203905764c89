default_scope = 'reloclnet_mm'
# mmengine's Runner, for ranks with and without a GPU.
runner_type = 'reloclnet_mm.AnyDeviceRunner'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(
        type='AtomicCheckpointHook',
        interval=1,
        max_keep_ckpts=2,
        save_best='VCMR/R1@0.5+0.7',
        rule='greater',
    ),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    check_checkpoint=dict(type='CheckpointCheckHook'),
    # draw=True: ranked moments as pictures; needs matplotlib.
    visualization=dict(type='MomentVisualizationHook', draw=False),
)
env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    # A rank that waits longer than so many seconds for another ends the run.
    dist_cfg=dict(backend='nccl', timeout=1800),
)
randomness = dict(seed=2018)

vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)
log_level = 'INFO'

load_from = None
resume = False
