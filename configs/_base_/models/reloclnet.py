# ReLoCLNet at the size of the paper, for TVR's features with two position columns a stream.
model = dict(
    type='ReLoCLNet',
    data_preprocessor=dict(type='MomentDataPreprocessor'),
    streams=dict(video=3074, subtitle=770),
    query_channels=768,
    embed_dims=384,
    num_heads=8,
    max_query_tokens=30,
    max_clips=128,
    input_dropout=0.1,
    dropout=0.1,
    span_kernel_size=5,
    loss_ranking=dict(type='RankingLoss', kind='hinge', margin=0.1),
    loss_span=dict(type='SpanLoss', loss_weight=0.01),
    loss_frame=dict(type='FrameContrastiveLoss', loss_weight=0.03),
    loss_video=dict(type='VideoContrastiveLoss', loss_weight=0.03),
    test_cfg=dict(num_videos=100, alpha=30.0, min_span=2, max_span=16, num_moments=100),
)
