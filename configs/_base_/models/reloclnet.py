# ReLoCLNet at the size of the paper. What follows from the data is set beside the data set:
# streams, query_channels, the encoders' max_tokens and max_clips.
embed_dims = 384
num_heads = 8
dropout = 0.1
span_kernel_size = 5
loss_weights = dict(span=0.01, frame=0.03, video=0.03)

model = dict(
    type='ReLoCLNet',
    data_preprocessor=dict(type='MomentDataPreprocessor'),
    embed_dims=embed_dims,
    num_heads=num_heads,
    input_dropout=dropout,
    dropout=dropout,
    query_encoder=dict(type='QueryEncoder', num_blocks=2),
    context_encoder=dict(type='ContextEncoder', num_blocks=3),
    span_head=dict(type='MergedSpanHead', kernel_size=span_kernel_size),
    loss_ranking=dict(type='RankingLoss', kind='hinge', margin=0.1),
    loss_span=dict(type='SpanLoss', loss_weight=loss_weights['span']),
    loss_frame=dict(type='FrameContrastiveLoss', loss_weight=loss_weights['frame']),
    loss_video=dict(type='VideoContrastiveLoss', loss_weight=loss_weights['video']),
    test_cfg=dict(num_videos=100, alpha=30.0, min_span=2, max_span=16, num_moments=100),
)
