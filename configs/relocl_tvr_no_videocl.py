# Ablation: without VideoCL.
_base_ = 'relocl_tvr.py'

model = dict(loss_video=None)
