"""Lists of a first stage, and a second stage trained on them, on a corpus of seconds."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from tool_processes import REPOSITORY, run_here

from reloclnet_mm.apis import init_model
from reloclnet_mm.registry import DATASETS
from reloclnet_mm.structures.video_lists import VideoLists

FIRST = REPOSITORY / 'configs/relocl_planted.py'
SECOND = REPOSITORY / 'configs/conquer_planted.py'
CORPUS = [
    *('--num-train-videos', 12, '--num-val-videos', 8, '--num-test-videos', 3),
    *('--queries-per-video', 4, '--mean-clips', 12),
]
CHECKPOINT = 'work_dirs/relocl_planted/epoch_6.pth'
LISTS = 'data/planted/train_lists.safetensors'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with a corpus, random weights of a first stage, and its lists for training."""
    folder = tmp_path_factory.mktemp('workspace')
    run_here(folder, 'make_planted_corpus', 'data/planted', *CORPUS)
    save_weights(folder / CHECKPOINT, seed=0)
    rank(folder, LISTS, 'train')
    return folder


def save_weights(path, seed):
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=init_model(FIRST).state_dict()), path)


def rank(folder, out, split, *args, config=FIRST, checkpoint=CHECKPOINT, status=0):
    """What the tool prints that writes 9 videos for each query."""
    weights = [] if checkpoint is None else [checkpoint]
    args = [config, *weights, '--split', split, '--out', out, '--num-videos', 9, *args]
    return run_here(folder, 'first_stage_lists', *args, status=status)


def naive_scores(model, split):
    """Query id to video name to score, each query beside every video."""
    cfg = Config.fromfile(FIRST)
    reader = cfg[f'{split}_dataloader'].dataset.reader
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        queries, videos = (
            DATASETS.build(dict(cfg[f'{name}_dataloader'].dataset, reader=reader))
            for name in ('val', 'val_corpus')
        )
    encoded = [model.data_preprocessor(pseudo_collate([video])) for video in videos]
    found = {}
    for query in queries:
        asked = model.data_preprocessor(pseudo_collate([query]))['inputs']
        with torch.no_grad():
            found[str(query['data_samples'].query_id)] = {
                video['data_samples'][0].video_name: model({**video['inputs'], **asked})[
                    'video_scores'
                ].item()
                for video in encoded
            }
    return found


@pytest.mark.parametrize(('split', 'count', 'videos'), [('train', 48, 9), ('val', 32, 8)])
def test_lists_are_what_the_model_ranks(folder, monkeypatch, split, count, videos):
    out = f'{split}.safetensors'
    printed = rank(folder, out, split)
    assert f'{out}: the best {videos} videos of each of {count} queries' in printed
    monkeypatch.chdir(folder)
    found, model = VideoLists.load(out), init_model(FIRST, CHECKPOINT)
    assert found.places.shape == (count, videos)
    assert found.model == model.checksum()
    expected = naive_scores(model, split)
    assert found.rows.keys() == expected.keys()
    for query_id, row in found.rows.items():
        scores = expected[query_id]
        names = [found.videos[i] for i in found.video_ids[found.places[row].long()].tolist()]
        ranked = torch.tensor([scores[name] for name in names])
        torch.testing.assert_close(found.scores[row], ranked, rtol=1e-5, atol=1e-6)
        best = torch.tensor(sorted(scores.values(), reverse=True)[:videos])
        torch.testing.assert_close(ranked, best, rtol=1e-5, atol=1e-6)


def test_a_model_without_weights_or_training_ranks_the_training_queries(folder):
    config = REPOSITORY / 'configs/chance_tvr.py'
    small = ['--cfg-options']
    for name in ('val', 'val_corpus', 'test', 'test_corpus'):
        dataset = f'{name}_dataloader.dataset'
        widths = dict(video=256, subtitle=96, query=96)
        small += [f'{dataset}.data_root=data/planted/']
        small += [f'{dataset}.channels.{stream}={width}' for stream, width in widths.items()]
    options = dict(config=config, checkpoint=None)
    printed = rank(folder, 'chance.safetensors', 'train', *small, status=1, **options)
    assert 'has no train_dataloader, so its training queries are not known' in printed
    reader = ['--train-reader', FIRST]
    printed = rank(folder, 'chance.safetensors', 'train', *reader, *small, **options)
    assert 'the best 9 videos of each of 48 queries' in printed


def train(folder, work_dir, *options, status=0):
    settings = ['default_hooks.logger.interval=1', 'train_cfg.max_epochs=1', *options]
    args = [SECOND, '--work-dir', work_dir, '--seed', 0, '--cfg-options', *settings]
    return run_here(folder, 'train', *args, status=status)


@pytest.mark.slow
def test_a_second_stage_trains_on_the_lists_and_is_a_row_of_the_benchmark(folder):
    printed = train(folder, 'run')
    assert 'loss_span' in printed
    trained, first = (
        torch.load(folder / path, weights_only=False)['state_dict']
        for path in ('run/epoch_1.pth', CHECKPOINT)
    )
    for name, weight in first.items():
        assert torch.equal(trained[f'first_stage.{name}'], weight)
    printed = run_here(folder, 'test', SECOND, 'run/epoch_1.pth')
    assert 'VCMR' in printed
    specs = [f'{FIRST}:{CHECKPOINT}', f'{SECOND}:run/epoch_1.pth']
    run_here(folder, 'benchmark', *specs, '--out', 'compared')
    first, second = json.loads((folder / 'compared/report.json').read_text())['rows']
    assert (first['name'], second['name']) == ('relocl_planted', 'conquer_planted')


@pytest.mark.slow
def test_lists_of_other_weights_or_of_another_split_end_the_training(folder):
    save_weights(folder / 'other.pth', seed=1)
    other = 'model.first_stage.init_cfg.checkpoint=other.pth'
    printed = train(folder, 'stale', other, status=1)
    assert 'train_lists.safetensors: found lists of the model' in printed
    rank(folder, 'data/planted/val_lists.safetensors', 'val')
    lists = 'train_dataloader.dataset.lists=val_lists.safetensors'
    printed = train(folder, 'split', lists, status=1)
    assert 'val_lists.safetensors: found lists of a corpus of 8 videos, expected the 12' in printed
    few = 'train_dataloader.dataset.num_negatives=9'
    assert 'make the lists again with more --num-videos' in train(folder, 'few', few, status=1)
