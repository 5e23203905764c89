"""Recalls from given predictions, exactly."""

import json
import re

import numpy as np
import pytest
from goldens import assert_recalls, rename_recall

from reloclnet_mm.registry import METRICS


def ranked(predictions):
    """A padded list [video, start, end] as a prediction; NaN marks absent ranks."""
    present = predictions[~np.isnan(predictions[:, 0])]
    return dict(
        video_ids=present[:, 0].astype(np.int64),
        moments=present[:, 1:3],
        scores=np.arange(len(present), 0, -1),
    )


def settings_in(names):
    """The K and the IoU thresholds that recalls are named after."""
    return (
        sorted({int(re.search(r'r(\d+)$', name)[1]) for name in names}),
        sorted({float(x) for name in names for x in re.findall(r'\d\.\d', name)}),
    )


def evaluate(config, samples):
    metric = METRICS.build(config)
    metric.process(None, samples)
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('task', ['VR', 'SVMR', 'VCMR'])
def test_tvr_recalls_overall_and_by_type_equal_the_original(tvr_val_metrics_golden, task):
    golden = np.load(tvr_val_metrics_golden)
    expected = json.loads(tvr_val_metrics_golden.with_suffix('.json').read_text())[task]
    top_k, ious = settings_in(expected['overall'])
    samples = [
        {
            'query_id': int(golden['desc_id'][i]),
            'query_type': str(golden['gt_type'][i]),
            'video_id': int(golden['gt_video'][i]),
            'gt_moments': golden['gt_moment'][i][None],
            f'pred_{task.lower()}': ranked(golden[task][i]),
        }
        for i in range(len(golden['desc_id']))
    ]
    config = dict(type='reloclnet_mm.VideoRecall', top_k=top_k)
    if task != 'VR':
        config = dict(type='reloclnet_mm.MomentRecall', task=task, top_k=top_k, iou_thresholds=ious)
    found = evaluate(config, samples)
    assert_recalls(found, expected['overall'], task)
    assert_recalls(found, expected['by_type'], task)


def test_didemo_recalls_ask_two_annotators_to_agree(didemo_val_metrics_golden):
    golden = np.load(didemo_val_metrics_golden)
    expected = json.loads(didemo_val_metrics_golden.with_suffix('.json').read_text())
    top_k, ious = settings_in(expected)
    samples = [
        dict(
            query_id=int(golden['annotation_id'][i]),
            video_id=int(golden['gt_video'][i]),
            gt_moments=golden['gt_moments'][i],
            pred_svmr=ranked(golden['SVMR'][i]),
        )
        for i in range(len(golden['annotation_id']))
    ]
    config = dict(
        type='reloclnet_mm.MomentRecall',
        task='SVMR',
        top_k=top_k,
        iou_thresholds=ious,
        min_annotators=2,
    )
    found = evaluate(config, samples)
    assert {name: found[name] for name in (rename_recall(n, 'SVMR') for n in expected)} == {
        rename_recall(name, 'SVMR'): recall for name, recall in expected.items()
    }
