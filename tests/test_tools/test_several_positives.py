"""A training on several right moments a query, in several videos, scored by NDCG."""

from dataclasses import replace

import numpy as np
import pytest
from mmengine.hooks import Hook
from tiny_corpus import tiny_config
from tool_processes import run_here

from reloclnet_mm.datasets.readers import Moment, TVRReader
from reloclnet_mm.registry import HOOKS, TASK_UTILS

EVALUATOR = [
    dict(type='RankingNDCG'),
    dict(type='VideoRecall'),
    dict(type='MomentRecall', task='VCMR'),
]


@TASK_UTILS.register_module(force=True)
class ManyVideosReader(TVRReader):
    """TVR's queries without videos of their own, with moments in two further ones."""

    def _read_queries(self):
        names = [video.name for video in self._read_videos()]
        for query in super()._read_queries():
            place = names.index(query.video_name)
            others = [names[(place + i) % len(names)] for i in (1, 2)]
            (own,) = query.moments
            moments = [
                Moment(0.0, 1.5, others[0], relevance=2.0),
                replace(own, video_name=query.video_name, relevance=4.0, annotator=None),
                Moment(0.0, 1.0, others[1], relevance=1.0),
            ]
            yield replace(query, video_name=None, moments=moments)


@HOOKS.register_module(force=True)
class PairRecorder(Hook):
    """Keeps the query and the video of each pair, and the losses of each step."""

    found: list

    def before_train(self, runner):
        PairRecorder.found = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        pairs = [(sample.query_id, sample.video_name) for sample in data_batch['data_samples']]
        losses = {name: x.item() for name, x in outputs.items()}
        PairRecorder.found.append((pairs, losses))


def train(folder, work_dir, other_positives):
    """The pairs and losses of each step of a training by the tool."""
    cfg = tiny_config(folder, work_dir)
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[name].dataset.reader.type = 'ManyVideosReader'
    cfg.train_dataloader.dataset.max_positives = 2
    cfg.model.update(dropout=0.0, input_dropout=0.0)
    cfg.model.loss_ranking.other_positives = 'ignored'
    cfg.model.loss_frame.other_positives = other_positives
    cfg.model.loss_video.other_positives = other_positives
    cfg.val_evaluator = cfg.test_evaluator = EVALUATOR
    cfg.custom_hooks.append(dict(type='PairRecorder'))
    cfg.log_level = 'INFO'
    cfg.dump(work_dir / 'config.py')
    run_here(work_dir, 'train', 'config.py')
    return PairRecorder.found


def test_a_training_on_the_two_best_moments_of_each_query(corpus_folder, tmp_path):
    for name in ('positive', 'ignored'):
        (tmp_path / name).mkdir()
    steps = train(corpus_folder, tmp_path / 'positive', 'positive')
    # Eight queries, two for each video; the best moment is in the query's video, the next in the
    # one after it. So 16 pairs, in batches of 3.
    after = dict(a='b', b='c', c='d', d='a')
    expected = {(i, x) for i, name in enumerate('aabbccdd') for x in (name, after[name])}
    assert {pair for pairs, _ in steps for pair in pairs} == expected
    assert len(steps) == 6
    assert all(np.isfinite(list(losses.values())).all() for _, losses in steps)

    ignoring = train(corpus_folder, tmp_path / 'ignored', 'ignored')
    assert [pairs for pairs, _ in ignoring] == [pairs for pairs, _ in steps]
    # The first batch meets the same weights; only what other right videos count as differs.
    first, other = steps[0][1], ignoring[0][1]
    for name in ('loss_span', 'loss_rank_query', 'loss_rank_video'):
        assert first[name] == pytest.approx(other[name])
    assert first['loss_video_cl'] != pytest.approx(other['loss_video_cl'], rel=1e-3)

    printed = run_here(tmp_path / 'positive', 'test', 'config.py', 'epoch_1.pth')
    (row,) = [line.split() for line in printed.splitlines() if line.startswith('NDCG@20')]
    assert all(0 <= float(x) <= 100 for x in row[1:])
    assert len(row) == 4
