"""Metrics of given predictions, exactly."""

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
    samples = []
    for gt, pred in zip(golden['gt'], golden['pred'], strict=True):
        right = gt[~np.isnan(gt[:, 0])]
        truth = dict(video_ids=right[:, 0], moments=right[:, 1:3], relevance=right[:, 3])
        samples.append(dict(query_id=len(samples), gt=truth, pred_vcmr=ranked(pred)))
    found = evaluate(
        dict(
            type='reloclnet_mm.RankingNDCG',
            top_k=sorted({int(k) for k, _ in names.values()}),
            iou_thresholds=sorted({float(iou) for _, iou in names.values()}),
        ),
        samples,
    )
    for name, (k, iou) in names.items():
        assert found[f'VCMR/NDCG{k}@{iou}'] == pytest.approx(100 * expected[name], abs=1e-7), name


@pytest.mark.parametrize('name', ['full', 'short', 'middle', 'long'])
def test_ap_and_r1_equal_those_of_qvhighlights(qvhighlights_metrics_golden, name):
    golden = dict(np.load(qvhighlights_metrics_golden))
    expected = json.loads(qvhighlights_metrics_golden.with_suffix('.json').read_text())
    ious = [float(iou) for iou in expected[name]['MR-R1']]
    samples = []
    for gt, pred in zip(golden['gt_windows'], golden['pred_windows'], strict=True):
        gt, pred = (x[~np.isnan(x[:, 0])] for x in (gt, pred))
        # QVHighlights sorts by score; our lists are sorted.
        pred = pred[np.argsort(-pred[:, 2], kind='stable')]
        sample = dict(query_id=len(samples), video_id=3)
        sample['gt'] = dict(video_ids=np.full(len(gt), 3), moments=gt)
        sample['pred_svmr'] = dict(video_ids=np.full(len(pred), 3), moments=pred[:, :2])
        samples.append(sample)
    settings = dict(iou_thresholds=ious, map_ious=ious, recall_ious=ious)
    found = evaluate(dict(type='reloclnet_mm.QVHighlightsMetric', **settings), samples)
    precision, recall = (
        {str(iou): found[f'SVMR/{name}/{kind}@{iou}'] for iou in ious} for kind in ('mAP', 'R1')
    )
    precision['average'] = found[f'SVMR/{name}/mAP']
    assert precision == expected[name]['MR-mAP']
    assert recall == expected[name]['MR-R1']
    assert precision['average'] == expected['brief'][f'MR-{name}-mAP']
