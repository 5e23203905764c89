# ReLoCLNet on ActivityNet Captions as text, one stream; minutes on a CPU.
_base_ = [
    '_base_/models/reloclnet.py',
    '_base_/datasets/anet_text_held_out.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/bert_adam_short.py',
    '_base_/default_runtime.py',
]

embed_dims = 256
# Chosen among 20, 40 and 80 on queries of training videos.
alpha = 80.0

# Moments cover a third of their video, so spans of any length may be answered. Training is short:
# no dropout inside, contrastive and span losses that weigh more than on TVR.
model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    embed_dims=embed_dims,
    dropout=0.0,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
    loss_span=dict(loss_weight=0.2),
    loss_frame=dict(loss_weight=0.1),
    loss_video=dict(loss_weight=0.3),
    test_cfg=dict(alpha=alpha, min_span=1, max_span=_base_.max_clips),
)
