# Several right moments (windows) a query, as QVHighlights scores them, and recalls over a corpus.
val_cfg = dict(type='CorpusValLoop')
test_cfg = dict(type='CorpusTestLoop')

val_evaluator = [
    dict(type='VideoRecall'),
    dict(type='MomentRecall', task='SVMR'),
    dict(type='MomentRecall', task='VCMR'),
    dict(type='QVHighlightsMetric'),
]
test_evaluator = [*val_evaluator, dict(type='ChanceRecall')]
