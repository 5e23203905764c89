# XML on ActivityNet Captions as text, one stream; trained as relocl_anet_text.py is.
_base_ = [
    '_base_/models/xml_one_stream.py',
    '_base_/datasets/anet_text_held_out.py',
    '_base_/evaluation/corpus.py',
    '_base_/schedules/bert_adam_short.py',
    '_base_/default_runtime.py',
]

# Chosen among 20, 40, 80 and 160 on queries of training videos.
alpha = 80.0

model = dict(
    streams=_base_.streams,
    query_channels=_base_.channels.query,
    dropout=0.0,
    query_encoder=dict(max_tokens=_base_.max_tokens),
    context_encoder=dict(max_clips=_base_.max_clips),
    loss_span=dict(loss_weight=0.2),
    test_cfg=dict(alpha=alpha, min_span=1, max_span=_base_.max_clips),
)
