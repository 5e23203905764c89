# CONQUER at the size of its authors' program, as the second stage of a TwoStageRetriever. What
# follows from the data is set beside the data set: streams, query_channels, the encoders'
# max_tokens and max_clips. A config adds the first stage: the model of another config.
second_stage = dict(
    type='CONQUER',
    data_preprocessor=dict(type='PairDataPreprocessor'),
    scoring='general',
    embed_dims=768,
    num_heads=12,
    feedforward_dims=3072,
    num_clusters=32,
    input_dropout=0.1,
    dropout=0.1,
    query_encoder=dict(type='TokenEncoder'),
    context_encoder=dict(type='JointStreamEncoder'),
    moment_head=dict(type='PairMomentHead', channels=128, kernel_size=5),
    loss_span=dict(type='SpanLoss', loss_weight=0.01),
)
# Beside these for scoring='exclusive'.
video_scoring = dict(
    video_head=dict(type='PairVideoHead', channels=128),
    loss_video=dict(type='VideoChoiceLoss', loss_weight=0.05),
)
num_reranked = 10
