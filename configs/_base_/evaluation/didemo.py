# DiDeMo's rule: an answer is right where it overlaps the moments of at least two annotators.
_base_ = 'corpus.py'

val_evaluator = [
    dict(type='VideoRecall', by_type=False),
    dict(type='MomentRecall', task='SVMR', by_type=False, min_annotators=2),
    dict(type='MomentRecall', task='VCMR', by_type=False, min_annotators=2),
]
test_evaluator = [*val_evaluator, dict(type='ChanceRecall', min_annotators=2)]
