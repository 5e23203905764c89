# Ablation: without FrameCL.
_base_ = 'relocl_anet_text.py'

model = dict(loss_frame=None)
