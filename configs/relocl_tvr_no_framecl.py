# Ablation: without FrameCL.
_base_ = 'relocl_tvr.py'

model = dict(loss_frame=None)
