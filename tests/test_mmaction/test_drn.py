"""mmaction2's DRN, whole, through our tools on a generated Charades-STA."""

import json
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch
from tool_processes import REPOSITORY, run_tool

pytestmark = pytest.mark.slow

# mmaction2 1.2.0 file by file, and the folder of DRN that mmaction2's own release leaves out.
RELEASE_WITH_DRN = 'otxmmaction2==1.2.0'

# Of two packages DRN uses one function each; torchvision has no build on PyPI for torch's on a CPU.
USED_OF_OTHERS = {
    'nltk.py': """
def word_tokenize(sentence):
    return sentence.split()
""",
    'torchvision.py': """
import types
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

__version__ = '0'

def sigmoid_focal_loss(inputs, targets, alpha, gamma, reduction):
    assert reduction == 'sum'
    signs = 2 * targets - 1
    missing = logsigmoid(-signs * inputs).exp()
    weights = targets * alpha + (1 - targets) * (1 - alpha)
    cross_entropy = binary_cross_entropy_with_logits(inputs, targets, reduction='none')
    return (weights * missing**gamma * cross_entropy).sum()

ops = types.SimpleNamespace(sigmoid_focal_loss=sigmoid_focal_loss)
""",
}

# Sizes of the test's data, and mmaction2's own recall beside ours; the rest is the documents'.
SMALL = """
_base_ = 'drn.py'
model = dict(feature_dim=16, is_first_stage=True)
loading = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=4, **loading)
val_dataloader = loading
test_dataloader = loading
optim_wrapper = dict(optimizer=dict(lr=1e-3))
randomness = dict(seed=0)
test_evaluator = [
    dict(type='reloclnet_mm.GroundingRecall'),
    dict(type='RecallatTopK', topK_list=(1, 5), threshold=0.5),
    dict(type='RecallatTopK', topK_list=(1, 5), threshold=0.7),
]
"""

# A model of ours on the same queries; its features are of no matter.
OURS = """
_base_ = {base!r}
files = dict(
    data_root='',
    feature_files=dict(_delete_=True, video='video.h5', subtitle='video.h5', query='query.h5'),
    channels=dict(video=8, subtitle=8, query=8),
)
index = dict(video_index='index.json', split='val')
loading = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(dataset=dict(reader=dict(ann_file='val.jsonl', **index), **files), **loading)
test_corpus_dataloader = dict(dataset=dict(reader=index, **files), **loading)
model = dict(streams=dict(video=10, subtitle=10), query_channels=8, embed_dims=16, num_heads=2)
"""

WORDS = ('a', 'person', 'opens', 'the', 'door', 'and', 'sits', 'down')


def write_charades_sta(root, width=16):
    """Annotation and features in the layout that mmaction2's data set reads."""
    rng = np.random.default_rng(0)
    features = root / 'C3D_unit16_overlap0.5_merged'
    features.mkdir(parents=True)
    facts = dict(duration={}, fps_dict={}, frames_info={})
    for split, num_videos in (('train', 8), ('test', 16)):
        lines = []
        for i in range(num_videos):
            name, duration = f'{split}{i}', round(rng.uniform(20, 40), 2)
            frames = int(24 * duration)
            for fact, value in zip(facts.values(), (duration, 24, frames), strict=True):
                fact[name] = value
            clips = rng.standard_normal((frames // 8, width), dtype=np.float32)
            torch.save(torch.from_numpy(clips), features / f'{name}.pt')
            start = rng.uniform(0, 0.5) * duration
            end = start + rng.uniform(0.3, 0.5) * duration
            query = ' '.join(rng.permutation(WORDS)[: rng.integers(3, 8)])
            lines.append(f'{name} {start:.1f} {end:.1f}##{query}.')
        (root / f'Charades_sta_{split}.txt').write_text('\n'.join(lines) + '\n')
    facts['word2id'] = {word: i + 1 for i, word in enumerate(WORDS)}
    for name, fact in facts.items():
        (root / f'Charades_{name}.json').write_text(json.dumps(fact))


@pytest.fixture(scope='module')
def packages(tmp_path_factory):
    """A folder of packages: mmaction2 with DRN, and what DRN uses of others."""
    folder = tmp_path_factory.mktemp('packages')
    pip = [sys.executable, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', folder]
    installed = subprocess.run(
        [*pip, RELEASE_WITH_DRN], capture_output=True, text=True, check=False
    )
    if installed.returncode:
        pytest.skip(f'{RELEASE_WITH_DRN} cannot be installed: {installed.stderr.strip()[-300:]}')
    for name, source in USED_OF_OTHERS.items():
        (folder / name).write_text(source)
    return folder


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder with data, the documents' config and the same for data of this size."""
    folder = tmp_path_factory.mktemp('workspace')
    write_charades_sta(folder / 'data/CharadesSTA')
    document = (REPOSITORY / 'docs/ecosystem.md').read_text()
    (config,) = re.findall(r'```python\n(# drn\.py\n.*?)```', document, re.DOTALL)
    (folder / 'drn.py').write_text(config)
    (folder / 'small.py').write_text(SMALL)
    return folder


@pytest.fixture(scope='module')
def trained(folder, packages):
    """The checkpoint of a training of the first and the last stage."""
    small = ['small.py', '--work-dir', 'run']
    epochs = ['--cfg-options', 'train_cfg.max_epochs=1']
    run_tool(folder, 'train', *small, *epochs, packages=[packages])
    last_stage = ['--cfg-options', 'train_cfg.max_epochs=2', 'model.is_first_stage=False']
    printed = run_tool(folder, 'train', *small, '--resume', *last_stage, packages=[packages])
    assert 'resumed epoch: 1' in printed
    return 'run/epoch_2.pth'


def recalls_of(printed):
    """Our recalls in what a test printed, by name."""
    found = re.findall(r'(SVMR/R[15]@0\.[57]): (\S+)', printed)
    return {name: float(value) for name, value in found}


@pytest.fixture(scope='module')
def tested(folder, packages, trained):
    """What a test of it prints."""
    return run_tool(folder, 'test', 'small.py', trained, packages=[packages])


def test_drn_trains_in_stages_and_is_in_our_table_with_its_own_recalls(tested):
    assert 'SVMR IoU 0.5' in tested
    recalls = recalls_of(tested)
    for iou in (0.5, 0.7):
        for k in (1, 5):
            theirs = re.search(rf'Recall@Top{k}_IoU={iou}: (\S+)', tested)
            assert recalls[f'SVMR/R{k}@{iou}'] == pytest.approx(100 * float(theirs[1]), abs=0.01)
    assert recalls['SVMR/R5@0.5'] > 0
    assert recalls['SVMR/R1@0.7'] < 100


def write_tvr_layout(folder):
    """The same queries in the layout that a model of ours reads, with features of its own."""
    root = folder / 'data/CharadesSTA'
    durations = json.loads((root / 'Charades_duration.json').read_text())
    rng, lines, index = np.random.default_rng(1), [], {}
    with (
        h5py.File(folder / 'video.h5', 'w') as video,
        h5py.File(folder / 'query.h5', 'w') as query,
    ):
        for number, line in enumerate((root / 'Charades_sta_test.txt').read_text().splitlines()):
            (name, start, end), text = line.partition('##')[0].split(), line.partition('##')[2]
            times = [float(start), float(end)]
            lines.append(dict(vid_name=name, duration=durations[name], ts=times, desc=text))
            lines[-1] |= dict(type='v', desc_id=number)
            index[name] = [durations[name], number]
            clips = int(np.ceil(durations[name] / 1.5))
            video[name] = rng.standard_normal((clips, 8), dtype=np.float32)
            query[str(number)] = rng.standard_normal((3, 8), dtype=np.float32)
    (folder / 'val.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (folder / 'index.json').write_text(json.dumps(dict(val=index)))


def test_drn_is_a_row_of_the_benchmark_with_svmr_alone(folder, packages, trained, tested):
    write_tvr_layout(folder)
    (folder / 'ours.py').write_text(OURS.format(base=str(REPOSITORY / 'configs/relocl_tvr.py')))
    rows = ['ours.py', f'DRN=small.py:{trained}']
    run_tool(folder, 'benchmark', *rows, '--out', 'out', packages=[packages])
    ours, drn = json.loads((folder / 'out/report.json').read_text())['rows']
    assert 'VCMR/R1@0.5' in ours['recalls']
    found = {name: recall['value'] for name, recall in drn['recalls'].items()}
    assert found == pytest.approx(recalls_of(tested))
    assert drn['notes'][0] == 'It does not answer VR and VCMR.'
