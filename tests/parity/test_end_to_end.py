"""A little corpus through data sets, converter, loops and config, against the whole program."""

import importlib.util
import json

import numpy as np
import pytest
from goldens import OUTPUT_TOLERANCE, TRAINING_TOLERANCE, assert_recalls, relative_error
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from official_config import feature_widths, model_config

LOSS_NAMES = dict(
    loss_span='loss_st_ed',
    loss_frame_cl='loss_fcl',
    loss_video_cl='loss_vcl',
    loss_rank_query='loss_neg_ctx',
    loss_rank_video='loss_neg_q',
    loss='loss_overall',
)


class Recorder(Hook):
    """Keeps the losses of every step and the predictions of every query."""

    priority = 'LOWEST'

    def __init__(self):
        self.losses = []
        self.samples = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({name: float(x) for name, x in outputs.items()})

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.samples.extend(outputs)


@pytest.fixture
def convert(repository, tmp_path):
    """The converter as a function of a checkpoint's path."""
    path = repository / 'tools' / 'model_converters' / 'official_to_mm.py'
    spec = importlib.util.spec_from_file_location('official_to_mm', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(source):
        target = tmp_path / f'{source.stem}.pth'
        module.main([str(source), str(target)])
        return str(target)

    return run


def official_config(repository, golden, work_dir):
    """configs/relocl_tvr_official.py with the files and settings of a golden."""
    expected = json.loads((golden / 'expected.json').read_text())
    settings, model = expected['settings'], expected['model']
    cfg = Config.fromfile(repository / 'configs' / 'relocl_tvr_official.py')
    ranks = sorted({int(name.split('r')[-1]) for name in expected['metrics']['VCMR']})
    widths = feature_widths(model)
    names = dict(video='video.h5', subtitle='sub.h5', query='query.h5')
    files = dict(
        data_root=str(golden),
        feature_files=dict(_delete_=True, **{name: names[name] for name in widths}),
        channels=dict(_delete_=True, **widths),
        # "normalize" applies to all features; the recipe for TVR leaves video as it is.
        normalize=list(widths) if settings['normalize'] else [],
        clip_length=settings['clip_length'],
        max_clips=settings['max_ctx_l'],
        max_tokens=settings['max_desc_l'],
    )
    index = dict(video_index='video2dur_idx.json')
    corpus = dict(num_workers=0, dataset={**files, 'reader': index})
    reader = {split: {**index, 'ann_file': f'{split}.jsonl'} for split in ('train', 'val')}
    loading = dict(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            model=model_config(model),
            train_dataloader=dict(
                **loading,
                batch_size=settings['train']['batch_size'],
                sampler=dict(shuffle=settings['train']['shuffle']),
                dataset={**files, 'reader': reader['train']},
            ),
            val_dataloader=dict(**loading, dataset={**files, 'reader': reader['val']}),
            test_dataloader=dict(**loading, dataset={**files, 'reader': reader['val']}),
            val_corpus_dataloader=corpus,
            test_corpus_dataloader=corpus,
            train_cfg=dict(max_epochs=settings['train']['epochs'], val_interval=1000),
            optim_wrapper=dict(
                optimizer=dict(
                    lr=settings['train']['lr'], weight_decay=settings['train']['weight_decay']
                )
            ),
        )
    )
    cfg.model.test_cfg = dict(
        num_videos=settings['max_vcmr_video'],
        alpha=settings['q2c_alpha'],
        min_span=settings['min_pred_l'],
        max_span=settings['max_pred_l'],
        num_moments=settings['max_after_nms'],
        num_candidates=settings['max_before_nms'],
    )
    cfg.model.data_preprocessor.pad_clips_to = settings['max_ctx_l']
    for dataset in (
        cfg.train_dataloader.dataset,
        cfg.val_dataloader.dataset,
        cfg.test_dataloader.dataset,
        cfg.val_corpus_dataloader.dataset,
        cfg.test_corpus_dataloader.dataset,
    ):
        if 'tef' not in model['ctx_mode']:
            dataset.pipeline = [x for x in dataset.pipeline if x['type'] != 'AppendTEF']
    cfg.param_scheduler[0]['warmup'] = settings['train']['warmup']
    cfg.custom_hooks = [
        dict(type='HardNegativeHook', begin=0, pool_size=settings['train']['hard_pool_size'])
    ]
    for metric in cfg.test_evaluator:
        metric['top_k'] = ranks
    cfg.default_hooks.checkpoint.update(interval=1000, save_best=None, save_last=False)
    cfg.visualizer = dict(type='Visualizer', vis_backends=[])
    cfg.log_level = 'WARNING'
    return cfg, expected


def run_test(cfg):
    recorder = Recorder()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(recorder)
    return runner.test(), {sample.query_id: sample for sample in recorder.samples}


def assert_same_ranking(found, expected):
    """Equal lists of [video, start, end, score], but for the order of equal scores.

    The list's scores meet the goldens' tolerance, relative to the largest; each one by itself is
    close too, as far as exp(alpha · s) allows, which multiplies an error of s by alpha. Scores
    below 1e-12 are products that underflow.
    """
    expected = expected[~np.isnan(expected[:, 0])]
    expected = expected[expected[:, 3] > 1e-12]
    found = found[: len(expected)]
    assert found.shape == expected.shape
    assert relative_error(found[:, 3], expected[:, 3]) < OUTPUT_TOLERANCE
    np.testing.assert_allclose(found[:, 3], expected[:, 3], rtol=2e-4)
    score_of = {tuple(row[:3]): row[3] for row in expected}
    for *item, score in found:
        if score > expected[-1, 3] * (1 + 2e-4):
            assert score_of[tuple(item)] == pytest.approx(score, rel=2e-4)


def as_rows(predicted, scores=None):
    moments = predicted['moments'] if 'moments' in predicted else np.zeros((len(predicted), 2))
    scores = predicted['scores'] if scores is None else scores
    return np.concatenate(
        [np.asarray(predicted['video_ids'])[:, None], moments, np.asarray(scores)[:, None]], 1
    ).astype(np.float32)


def absolute_scores(sample, alpha):
    """VCMR's scores as the original has them: ours are relative to the best video."""
    return np.asarray(sample.pred_vcmr.scores) * np.exp(alpha * float(sample.pred_vr.scores[0]))


def test_rankings_and_metrics_of_a_converted_checkpoint_equal_the_original(
    e2e_golden, repository, convert, tmp_path
):
    cfg, expected = official_config(repository, e2e_golden, tmp_path)
    cfg.load_from = convert(e2e_golden / 'model.ckpt')
    metrics, samples = run_test(cfg)
    predictions = np.load(e2e_golden / 'expected_predictions.npz')
    alpha = expected['settings']['q2c_alpha']
    assert len(samples) == len(predictions['desc_id'])
    for i, query_id in enumerate(predictions['desc_id'].tolist()):
        sample = samples[query_id]
        videos = sample.pred_vr
        assert_same_ranking(as_rows(videos, np.exp(alpha * videos.scores)), predictions['VR'][i])
        assert_same_ranking(as_rows(sample.pred_svmr), predictions['SVMR'][i])
        vcmr = as_rows(sample.pred_vcmr, absolute_scores(sample, alpha))
        assert_same_ranking(vcmr, predictions['VCMR'][i])
    for task in ('VR', 'SVMR', 'VCMR'):
        assert_recalls(metrics, expected['metrics'][task], task)
        assert_recalls(metrics, expected['metrics'][f'{task}_by_type'], task)


def test_rankings_and_metrics_after_nms_equal_the_original(
    e2e_golden, repository, convert, tmp_path
):
    cfg, expected = official_config(repository, e2e_golden, tmp_path)
    cfg.load_from = convert(e2e_golden / 'model.ckpt')
    cfg.model.test_cfg.nms_iou = expected['settings']['nms_threshold']
    metrics, samples = run_test(cfg)
    predictions = np.load(e2e_golden / 'expected_predictions.npz')
    alpha = expected['settings']['q2c_alpha']
    for i, query_id in enumerate(predictions['desc_id'].tolist()):
        sample = samples[query_id]
        assert_same_ranking(as_rows(sample.pred_svmr), predictions['SVMR_nms'][i])
        vcmr = as_rows(sample.pred_vcmr, absolute_scores(sample, alpha))
        assert_same_ranking(vcmr, predictions['VCMR_nms'][i])
    for task in ('SVMR', 'VCMR'):
        assert_recalls(metrics, expected['metrics_after_nms'][task], task)
        assert_recalls(metrics, expected['metrics_after_nms'][f'{task}_by_type'], task)


def test_training_losses_of_every_step_equal_the_original(
    e2e_golden, repository, convert, tmp_path
):
    cfg, expected = official_config(repository, e2e_golden, tmp_path)
    cfg.load_from = convert(e2e_golden / 'model_init.ckpt')
    recorder = Recorder()
    runner = Runner.from_cfg(cfg)
    runner.register_hook(recorder)
    runner.train()
    assert len(recorder.losses) == len(expected['train_losses'])
    for found, wanted in zip(recorder.losses, expected['train_losses'], strict=True):
        for ours, theirs in LOSS_NAMES.items():
            assert found[ours] == pytest.approx(wanted[theirs], rel=TRAINING_TOLERANCE)
