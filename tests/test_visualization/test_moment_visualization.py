"""Pictures of ranked moments, in the visualizer's backends."""

import dataclasses
import sys

import cv2
import matplotlib
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_corpus import edit_line, tiny_runner

from reloclnet_mm.engine.hooks.visualization_hook import timeline
from reloclnet_mm.errors import InputError
from reloclnet_mm.registry import HOOKS
from reloclnet_mm.structures import MomentDataSample, VideoCorpus
from reloclnet_mm.structures.packed_rows import RowLayout
from reloclnet_mm.visualization.drawing import draw_timeline

HOOK = dict(type='MomentVisualizationHook', num_queries=3)


def sample():
    """A query of a video of 20 s with two clips of 10 s."""
    sample = MomentDataSample(
        metainfo=dict(
            query_id=7,
            query='a man opens the door',
            video_name='A',
            video_id=4,
            duration=20.0,
        )
    )
    sample.gt_moments = torch.tensor([[5.0, 15.0]])
    sample.pred_svmr = InstanceData(
        video_ids=torch.tensor([4, 4]),
        moments=torch.tensor([[0.0, 10.0], [10.0, 20.0]]),
        scores=torch.tensor([0.6, 0.2]),
    )
    sample.pred_vcmr = InstanceData(
        video_ids=torch.tensor([9, 4]),
        moments=torch.tensor([[0.0, 2.0], [0.0, 10.0]]),
        scores=torch.tensor([0.9, 0.6]),
    )
    return sample


PROBABILITIES = (np.array([0.75, 0.25]), np.array([0.5, 0.5]))


def shown(probabilities=PROBABILITIES):
    corpus = VideoCorpus(
        video_names=('B', 'A'),
        video_ids=torch.tensor([9, 4]),
        seconds_per_clip=torch.tensor([2.0, 10.0]),
        order=torch.tensor([0, 1]),
        streams=('video',),
        features=torch.zeros(3, 0),
        layout=RowLayout.stack([1, 2], [1, 2]),
    )
    return timeline(sample(), probabilities, corpus, num_moments=5)


def test_what_is_drawn_of_a_prediction():
    found = shown()
    assert (found.query, found.video_name, found.duration) == ('a man opens the door', 'A', 20)
    assert found.truth.tolist() == [[5, 15]]
    assert found.seconds_per_clip == 10
    assert found.moments.tolist() == [[0, 10], [10, 20]]
    assert found.in_corpus == [('B  0.0–2.0 s', False), ('A  0.0–10.0 s', True)]


def test_the_truth_is_a_band_of_the_picture():
    with_truth = draw_timeline(shown())
    assert with_truth.dtype == np.uint8
    assert with_truth.shape[2] == 3
    band = (with_truth == (0xB7, 0xDF, 0xB0)).all(2)
    # Half of the panel's width, which is less than the picture's.
    assert 0.2 < band.any(0).mean() < 0.5
    assert not np.array_equal(with_truth, draw_timeline(shown(None)))


@pytest.mark.parametrize('query', ['it is $5 or $6', r'a $\foo$ and $x_{$', '$'])
def test_dollar_signs_of_a_query_are_no_formula(query):
    picture = draw_timeline(dataclasses.replace(shown(), query=query))
    assert not np.array_equal(picture, draw_timeline(shown()))
    assert matplotlib.rcParams['text.parse_math']


def test_queries_without_a_video_are_told_and_not_drawn(corpus_folder, tmp_path, monkeypatch):
    told = []
    for number in range(1, 9):
        edit_line(corpus_folder / 'val.jsonl', number, vid_name=None, ts=None)
    runner = tiny_runner(
        corpus_folder,
        tmp_path,
        custom_hooks=[HOOK],
        test_evaluator=[dict(type='TVRSubmission', out_file=str(tmp_path / 'a.json'))],
    )
    monkeypatch.setattr(runner.logger, 'warning', told.append)
    runner.test()
    assert sum('is not drawn: its annotation names no video' in text for text in told) == 3
    assert not list(tmp_path.rglob('*.png'))


def test_pictures_of_a_validation_are_in_the_backends(corpus_folder, tmp_path):
    runner = tiny_runner(
        corpus_folder,
        tmp_path,
        custom_hooks=[HOOK],
        **{
            'visualizer.vis_backends': [
                dict(type='LocalVisBackend'),
                dict(type='TensorboardVisBackend'),
            ]
        },
    )
    runner.train()
    (folder,) = tmp_path.glob('*/vis_data')
    pictures = sorted(folder.glob('vis_image/val_query_*.png'))
    assert len(pictures) == 3
    assert cv2.imread(str(pictures[0])).std() > 10
    events = EventAccumulator(str(folder))
    events.Reload()
    assert len(events.Tags()['images']) == 3
    scalars = events.Tags()['scalars']
    assert {'loss_span', 'loss_video_cl', 'VR/R1', 'SVMR/R1@0.5', 'VCMR/R1@0.7'} <= set(scalars)


def test_the_probabilities_drawn_are_those_that_the_best_moment_was_scored_with(
    corpus_folder, tmp_path, monkeypatch
):
    drawn = []
    runner = tiny_runner(corpus_folder, tmp_path, custom_hooks=[HOOK])
    monkeypatch.setattr(
        'reloclnet_mm.visualization.drawing.draw_timeline',
        lambda shown: drawn.append(shown) or np.zeros((2, 2, 3), np.uint8),
    )
    runner.test()
    assert len(drawn) == 3
    for one in drawn:
        assert one.start_prob.sum() == pytest.approx(1, abs=1e-5)
        begin, end = np.rint(one.moments[0] / one.seconds_per_clip).astype(int)
        # tiny_model's spans (i, j) end with the beginning of clip j.
        score = one.start_prob[begin] * one.end_prob[min(end, len(one.end_prob) - 1)]
        assert one.scores[0] == pytest.approx(score, rel=1e-4)


def test_nothing_is_drawn_unless_it_is_asked_for(corpus_folder, tmp_path):
    tiny_runner(corpus_folder, tmp_path, custom_hooks=[]).test()
    assert not list(tmp_path.rglob('*.png'))


def test_without_matplotlib_the_hook_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, 'reloclnet_mm.visualization.drawing', raising=False)
    monkeypatch.setitem(sys.modules, 'matplotlib.axes', None)
    with pytest.raises(InputError, match=r"pip install 'reloclnet_mm\[plot\]'"):
        HOOKS.build(HOOK)
    HOOKS.build(HOOK | dict(draw=False))
