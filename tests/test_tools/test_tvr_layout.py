"""configs/relocl_tvr.py as it is, on files of the TVR release's names, shapes and layout."""

import json
import re
import shutil

import h5py
import numpy as np
import pytest
import torch
from tool_processes import REPOSITORY, run_tool

REAL = REPOSITORY / '../shared/data/tvr'
CONFIG = REPOSITORY / 'configs/relocl_tvr.py'
NUM_VAL_QUERIES = 40
CORPUS = [
    *('--val-annotation', REAL / 'tvr_val_release.jsonl', '--max-val-queries', NUM_VAL_QUERIES),
    *('--video-index', REAL / 'tvr_video2dur_idx.json'),
    *('--num-train-videos', 16, '--num-test-videos', 0, '--queries-per-video', 5),
    *('--video-dim', 3072, '--subtitle-dim', 768, '--query-dim', 768),
]
FEATURES = 'tvr_feature_release'
WIDTHS = {
    f'{FEATURES}/video_feature/tvr_resnet152_rgb_max_i3d_rgb600_avg_cat_cl-1.5.h5': 3072,
    f'{FEATURES}/bert_feature/sub_query/tvr_sub_pretrained_w_sub_query_max_cl-1.5.h5': 768,
    f'{FEATURES}/bert_feature/sub_query/tvr_query_pretrained_w_sub_query.h5': 768,
}
# for speed alone: the recipe has batches of 128 and 100 epochs
LIMITS = ['train_dataloader.batch_size=32', 'train_cfg.max_epochs=1']
# of the paper's model, as the authors' program counts them
NUM_PARAMETERS = 7_765_650

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason='needs ../shared/data/tvr'),
]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with the release's files under data/tvr/."""
    folder = tmp_path_factory.mktemp('workspace')
    run_tool(folder, 'make_planted_corpus', 'data/tvr', *CORPUS)
    yield folder
    # pytest keeps the folders of its last runs, and features and checkpoints are 150 MB
    shutil.rmtree(folder)


@pytest.fixture(scope='module')
def trained(folder):
    """Work dir and output of an epoch of training with validation."""
    printed = run_tool(folder, 'train', CONFIG, '--cfg-options', *LIMITS)
    return folder / 'work_dirs/relocl_tvr', printed


def test_the_files_have_the_release_s_widths_and_the_real_validation_queries(folder):
    root = folder / 'data/tvr'
    for name, width in WIDTHS.items():
        with h5py.File(root / name) as file:
            rows = next(iter(file.values()))
            assert (rows.ndim, rows.shape[1], rows.dtype) == (2, width, np.float32)
    real = (REAL / 'tvr_val_release.jsonl').read_text().splitlines()[:NUM_VAL_QUERIES]
    written = (root / 'tvr_val_release.jsonl').read_text().splitlines()
    assert list(map(json.loads, written)) == list(map(json.loads, real))


def test_the_paper_s_model_trains_and_is_validated_in_the_whole_corpus(trained):
    work_dir, printed = trained
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    training, validation = map(json.loads, path.read_text().splitlines())
    # 80 queries in batches of 32
    assert training['step'] == 3
    losses = [value for key, value in training.items() if key.startswith('loss_')]
    assert len(losses) == 5
    assert np.isclose(sum(losses), training['loss'])
    assert np.isfinite(losses).all()
    # a random order's R@100 of fewer than 100 videos
    assert validation['VR/R100'] == 100
    assert 0 <= validation['VCMR/R1@0.7'] <= validation['VCMR/R1@0.5'] <= validation['VR/R100']
    assert re.search(r'Epoch\(val\) \[1\]\[1/1\]', printed)


def test_the_checkpoint_has_the_paper_s_parameters(trained):
    work_dir, _ = trained
    weights = torch.load(work_dir / 'epoch_1.pth', weights_only=False)['state_dict']
    assert sum(tensor.numel() for tensor in weights.values()) == NUM_PARAMETERS


def test_the_checkpoint_is_tested_beside_chance(trained, folder):
    work_dir, _ = trained
    printed = run_tool(folder, 'test', CONFIG, work_dir / 'epoch_1.pth')
    annotation = (folder / 'data/tvr/tvr_val_release.jsonl').read_text().splitlines()
    num_videos = len({json.loads(line)['vid_name'] for line in annotation})
    row = next(line for line in printed.splitlines() if line.split()[:1] == ['R@1'])
    assert row.split()[2] == f'({100 / num_videos:.2f})'
