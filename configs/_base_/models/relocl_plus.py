# ReLoCLNet's idea with encoders that begin at pretrained features. What follows from the data is
# set beside the data set: streams, query_channels, the query encoder's max_tokens and max_span.
embed_dims = 128
num_heads = 4
# On rows that are hidden from the layers, and everywhere else.
input_dropout = 0.2
dropout = 0.3

# Features as they are: places are in the encoders, and norms in the mean of a query's tokens. A
# config sets them where it sets what follows from the data.
plain_pipelines = dict(
    train=[
        dict(type='LoadQueryFeatures'),
        dict(type='LoadClipFeatures'),
        dict(type='PoolClips'),
        dict(type='MomentToSpan'),
        dict(type='PackMomentInputs'),
    ],
    query=[dict(type='LoadQueryFeatures'), dict(type='PackMomentInputs')],
    corpus=[dict(type='LoadClipFeatures'), dict(type='PoolClips'), dict(type='PackMomentInputs')],
)

model = dict(
    type='ReLoCLNetPlus',
    data_preprocessor=dict(type='MomentDataPreprocessor'),
    embed_dims=embed_dims,
    num_heads=num_heads,
    input_dropout=input_dropout,
    dropout=dropout,
    query_encoder=dict(type='ResidualQueryEncoder', num_layers=1),
    context_encoder=dict(type='ResidualContextEncoder', num_layers=2),
    span_head=dict(type='SpanMapHead', rank=8),
    loss_ranking=dict(type='BatchSoftmaxLoss'),
    loss_span=dict(type='SpanMapLoss'),
    test_cfg=dict(
        num_videos=100,
        moment_videos=20,
        alpha=30.0,
        min_span=1,
        num_moments=100,
        span_end='inclusive',
    ),
)
