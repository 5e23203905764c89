"""Pictures of ranked moments, in the visualizer's backends."""

import dataclasses
import json
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
from reloclnet_mm.structures import EncodedCorpus, MomentDataSample
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
    sample.gt = InstanceData(
        video_ids=torch.tensor([4, 3]), moments=torch.tensor([[5.0, 15.0], [0.0, 1.0]])
    )
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


def shown(probabilities=PROBABILITIES, query=None):
    corpus = EncodedCorpus(
        video_names=('B', 'A'),
        video_ids=torch.tensor([9, 4]),
        seconds_per_clip=torch.tensor([2.0, 10.0]),
        positions=torch.tensor([0, 1]),
        layout=RowLayout.stack([1, 2], [1, 2]),
        rows=dict(retrieval=dict(video=torch.zeros(3, 0))),
    )
    return timeline(query or sample(), probabilities, corpus, num_moments=5)


def test_what_is_drawn_of_a_prediction():
    found = shown()
    assert (found.query, found.video) == ('a man opens the door', 'its own video A')
    assert (found.duration, found.seconds_per_clip) == (20, 10)
    assert found.truth.tolist() == [[5, 15]]
    assert found.moments.tolist() == [[0, 10], [10, 20]]
    assert found.shares == pytest.approx([0.75, 0.25])
    assert found.in_corpus == [('B  0.0–2.0 s  60.0%', False), ('A  0.0–10.0 s  40.0%', True)]


def test_the_best_found_video_is_drawn_of_a_query_that_names_none():
    query = sample()
    del query.pred_svmr
    del query.gt
    found = shown(query=query)
    assert (found.video, found.duration) == ('the best found video B', 2)
    assert found.truth.shape == (0, 2)
    assert found.moments.tolist() == [[0, 2]]
    assert found.shares == pytest.approx([0.6])


@pytest.mark.parametrize(
    ('scale', 'shares'), [(1e38, [0.6, 0.4]), (1e-38, [0.6, 0.4]), (0, [0, 0])]
)
def test_shares_of_scores_of_any_size_are_parts_of_one(scale, shares):
    query = sample()
    query.pred_vcmr.scores *= scale
    assert [line.split()[-1] for line, _ in shown(query=query).in_corpus] == [
        f'{share:.1%}' for share in shares
    ]


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


@pytest.fixture
def drawn(monkeypatch):
    """What would be drawn, without drawing it."""
    drawn = []
    monkeypatch.setattr(
        'reloclnet_mm.visualization.drawing.draw_timeline',
        lambda shown: drawn.append(shown) or np.zeros((2, 2, 3), np.uint8),
    )
    return drawn


def test_a_picture_of_a_query_without_a_video_has_the_probabilities_of_the_best_found(
    corpus_folder, tmp_path, drawn
):
    for number in range(1, 9):
        edit_line(corpus_folder / 'val.jsonl', number, vid_name=None, ts=None)
    tiny_runner(
        corpus_folder,
        tmp_path,
        custom_hooks=[HOOK],
        test_evaluator=[dict(type='TVRSubmission', out_file=str(tmp_path / 'a.json'))],
    ).test()
    lists = json.loads((tmp_path / 'a.json').read_text())['VCMR'][:3]
    assert len(drawn) == len(list(tmp_path.rglob('test_query_*.png'))) == 3
    for one, found in zip(drawn, lists, strict=True):
        assert one.video.startswith('the best found video')
        assert one.start_prob.sum() == pytest.approx(1, abs=1e-5)
        assert one.duration == pytest.approx(len(one.start_prob) * one.seconds_per_clip)
        assert one.moments[0] == pytest.approx(found['predictions'][0][1:3])
        assert_scored_with_them(one)


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


def assert_scored_with_them(one):
    """The shares of the moments of a video are to each other as products of its probabilities."""
    # tiny_model's spans (i, j) end with the beginning of clip j.
    clips = np.rint(one.moments / one.seconds_per_clip).astype(int)
    ends = clips[:, 1].clip(max=len(one.end_prob) - 1)
    products = one.start_prob[clips[:, 0]] * one.end_prob[ends]
    assert one.shares / one.shares[0] == pytest.approx(products / products[0], rel=1e-4)


def test_the_probabilities_drawn_are_those_that_the_moments_were_scored_with(
    corpus_folder, tmp_path, drawn
):
    tiny_runner(corpus_folder, tmp_path, custom_hooks=[HOOK]).test()
    assert len(drawn) == 3
    for one in drawn:
        assert one.start_prob.sum() == pytest.approx(1, abs=1e-5)
        assert_scored_with_them(one)


def test_nothing_is_drawn_unless_it_is_asked_for(corpus_folder, tmp_path):
    tiny_runner(corpus_folder, tmp_path, custom_hooks=[]).test()
    assert not list(tmp_path.rglob('*.png'))


def test_without_matplotlib_the_hook_says_what_to_install(monkeypatch):
    monkeypatch.delitem(sys.modules, 'reloclnet_mm.visualization.drawing', raising=False)
    monkeypatch.setitem(sys.modules, 'matplotlib.axes', None)
    with pytest.raises(InputError, match=r"pip install 'reloclnet_mm\[plot\]'"):
        HOOKS.build(HOOK)
    HOOKS.build(HOOK | dict(draw=False))
