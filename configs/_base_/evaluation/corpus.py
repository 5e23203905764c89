# VR, SVMR and VCMR over a corpus: the loops read val_corpus_dataloader and test_corpus_dataloader.
val_cfg = dict(type='CorpusValLoop')
test_cfg = dict(type='CorpusTestLoop')

val_evaluator = [
    dict(type='VideoRecall', by_type=False),
    dict(type='MomentRecall', task='SVMR', by_type=False),
    dict(type='MomentRecall', task='VCMR', by_type=False),
]
test_evaluator = [
    dict(type='VideoRecall'),
    dict(type='MomentRecall', task='SVMR'),
    dict(type='MomentRecall', task='VCMR'),
    dict(type='ChanceRecall'),
]
