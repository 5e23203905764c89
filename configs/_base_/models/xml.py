# XML at the size of its authors' program. What follows from the data is set beside the data set:
# streams, query_channels, the encoders' max_tokens and max_clips.
embed_dims = 256
num_heads = 4
dropout = 0.1
span_kernel_size = 5

# Two streams; xml_one_stream.py has what differs with one.
model = dict(
    type='XML',
    data_preprocessor=dict(type='MomentDataPreprocessor'),
    embed_dims=embed_dims,
    num_heads=num_heads,
    input_dropout=dropout,
    dropout=dropout,
    query_encoder=dict(type='QueryEncoder', num_blocks=1),
    context_encoder=dict(type='ContextEncoder', num_blocks=2),
    span_head=dict(type='MergedSpanHead', kernel_size=span_kernel_size),
    loss_ranking=dict(type='RankingLoss', kind='hinge', margin=0.1),
    loss_span=dict(type='SpanLoss', loss_weight=0.01),
    test_cfg=dict(num_videos=100, alpha=20.0, min_span=2, max_span=16, num_moments=100),
)
