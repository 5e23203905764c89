# Ablation: the smooth ranking loss, log(1 + exp(s_neg - s_pos)), in place of the hinge.
_base_ = 'relocl_anet_text.py'

model = dict(loss_ranking=dict(kind='lse'))
