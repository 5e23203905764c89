# Several right moments (windows) a query, as QVHighlights scores them, and recalls over a corpus.
_base_ = 'corpus.py'

val_evaluator = [
    dict(type='VideoRecall'),
    dict(type='MomentRecall', task='SVMR'),
    dict(type='MomentRecall', task='VCMR'),
    dict(type='QVHighlightsMetric'),
]
test_evaluator = [*val_evaluator, dict(type='ChanceRecall')]
