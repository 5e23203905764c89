"""Recalls from given predictions, exactly."""

import json
import re

import numpy as np
import pytest
from goldens import assert_recalls, rename_recall

from reloclnet_mm.evaluation.functional import (
    average_precision,
    gains,
    match_moments,
    moment_hits,
    ndcg_at,
    overlaps,
    recall_at,
    stack_worths,
)
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
    golden = dict(np.load(tvr_val_metrics_golden))
    expected = json.loads(tvr_val_metrics_golden.with_suffix('.json').read_text())[task]
    top_k, ious = settings_in(expected['overall'])
    samples = [
        {
            'query_id': int(golden['desc_id'][i]),
            'query_type': str(golden['gt_type'][i]),
            'video_id': int(golden['gt_video'][i]),
            'gt': dict(video_ids=golden['gt_video'][i][None], moments=golden['gt_moment'][i][None]),
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


def truth_of_didemo(golden, i):
    present = golden['gt_moments'][i][~np.isnan(golden['gt_moments'][i, :, 0])]
    return dict(
        video_ids=np.full(len(present), golden['gt_video'][i]),
        moments=present,
        annotators=np.arange(len(present)),
    )


def test_didemo_recalls_ask_two_annotators_to_agree(didemo_val_metrics_golden):
    golden = dict(np.load(didemo_val_metrics_golden))
    expected = json.loads(didemo_val_metrics_golden.with_suffix('.json').read_text())
    top_k, ious = settings_in(expected)
    samples = [
        dict(
            query_id=int(golden['annotation_id'][i]),
            video_id=int(golden['gt_video'][i]),
            gt=truth_of_didemo(golden, i),
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


def test_ndcg_equals_that_of_tvr_ranking(ndcg_golden):
    golden = dict(np.load(ndcg_golden))
    expected = json.loads(ndcg_golden.with_suffix('.json').read_text())
    names = {name: re.fullmatch(r'NDCG@(\d+)@IoU>(.+)', name).groups() for name in expected}
    ious = sorted({float(iou) for _, iou in names.values()})
    worths = []
    for gt, pred in zip(golden['gt'], golden['pred'], strict=True):
        overlap = overlaps(pred[:, 0], pred[:, 1:], gt[:, 0], gt[:, 1:3])
        worths.append(gains(gt[:, 3], match_moments(overlap, ious, strict=True)))
    worths, ideal = stack_worths(worths), np.stack([gains(gt[:, 3]) for gt in golden['gt']])
    for name, (k, iou) in names.items():
        found = ndcg_at(worths[:, ious.index(float(iou))], ideal, int(k)).mean()
        assert found == pytest.approx(expected[name], abs=1e-9), name


def qvhighlights(gt_windows, pred_windows, ious):
    """AP and R1 of each threshold in percent, as QVHighlights reports them."""
    precisions, hits = [], []
    for gt, pred in zip(gt_windows, pred_windows, strict=True):
        gt, pred = (x[~np.isnan(x[:, 0])] for x in (gt, pred))
        pred = pred[np.argsort(-pred[:, 2], kind='stable')[:10]]
        overlap = overlaps(np.zeros(len(pred)), pred[:, :2], np.zeros(len(gt)), gt)
        precisions.append(average_precision(match_moments(overlap, ious) >= 0, len(gt)))
        hits.append(moment_hits(overlap, ious))
    hits, precision = stack_worths(hits, width=1), 100 * np.mean(precisions, 0)
    return (
        dict(zip(map(str, ious), precision.round(2).tolist(), strict=True))
        | dict(average=round(float(precision.mean()), 2)),
        {str(iou): recall_at(hits[:, i], 1) for i, iou in enumerate(ious)},
    )


RANGES = dict(full=(0, 150), short=(0, 10), middle=(10, 30), long=(30, 150))


@pytest.mark.parametrize('name', RANGES)
def test_ap_and_r1_equal_those_of_qvhighlights(qvhighlights_metrics_golden, name):
    golden = dict(np.load(qvhighlights_metrics_golden))
    expected = json.loads(qvhighlights_metrics_golden.with_suffix('.json').read_text())
    low, high = RANGES[name]
    windows = golden['gt_windows'].copy()
    length = windows[..., 1] - windows[..., 0]
    windows[~((length > low) & (length <= high))] = np.nan
    asked = ~np.isnan(windows[..., 0]).all(1)
    ious = [float(iou) for iou in expected[name]['MR-R1']]
    precision, recall = qvhighlights(windows[asked], golden['pred_windows'][asked], ious)
    assert precision == expected[name]['MR-mAP']
    assert recall == expected[name]['MR-R1']
    assert precision['average'] == expected['brief'][f'MR-{name}-mAP']
