# Moments of the corpus ranked by relevance, as TVR-Ranking scores them. A query has no video of its
# own there, so SVMR is not asked.
_base_ = 'corpus.py'

val_evaluator = [
    dict(type='RankingNDCG'),
    dict(type='VideoRecall'),
    dict(type='MomentRecall', task='VCMR'),
]
test_evaluator = val_evaluator
