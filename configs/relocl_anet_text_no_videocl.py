# Ablation: without VideoCL.
_base_ = 'relocl_anet_text.py'

model = dict(loss_video=None)
