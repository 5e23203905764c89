# Ablation: without VideoCL and without FrameCL.
_base_ = 'relocl_tvr.py'

model = dict(loss_frame=None, loss_video=None)
