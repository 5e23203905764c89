"""mmaction2's models through our tools: BMN trained and tested, DRN named, grounding scored."""

import json
import os
import subprocess
import sys
from importlib.machinery import PathFinder

import numpy as np
import pytest
from mmengine.structures import BaseDataElement
from tiny_corpus import REPOSITORY
from tool_processes import run_tool

from reloclnet_mm.compat.mmaction2 import DRN, VINDLU, StandInFinder, install
from reloclnet_mm.errors import InputError
from reloclnet_mm.evaluation.metrics.grounding import GroundingRecall, as_answer
from reloclnet_mm.evaluation.table import result_table
from reloclnet_mm.registry import METRICS

BMN = """
_base_ = 'mmaction::localization/bmn/bmn_2xb8-400x100-9e_activitynet-feature.py'

# Widths and sizes of the test's data; everything else is mmaction2's.
model = dict(temporal_dim=10, num_samples=4, num_samples_per_bin=2, feat_dim=8)
loading = dict(num_workers=0, persistent_workers=False)
dataset = dict(ann_file='anno.json', data_prefix=dict(video='features'))
train_dataloader = dict(batch_size=2, dataset=dataset, **loading)
val_dataloader = dict(dataset=dataset, **loading)
test_dataloader = dict(dataset=dataset, **loading)
train_cfg = dict(max_epochs=1)
work_dir = 'work_dir'
dumped = dict(out='work_dir/proposals.json', output_format='json')
val_evaluator = dict(dump_config=dumped)
test_evaluator = dict(dump_config=dumped)
"""


def run(program, *args):
    process = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', program, *args],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': str(REPOSITORY), 'OMP_NUM_THREADS': '1'},
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def write_activitynet(folder, num_videos=4, rows=10, width=8):
    """Features and annotation in the layout of ActivityNet's localization."""
    rng = np.random.default_rng(0)
    (folder / 'features').mkdir()
    annotation = {}
    for i in range(num_videos):
        name = f'v_{i}'
        header = ','.join(f'f{j}' for j in range(width))
        np.savetxt(
            folder / f'features/{name}.csv',
            rng.standard_normal((rows, width)),
            delimiter=',',
            header=header,
            comments='',
        )
        annotation[name] = dict(
            duration_second=20.0,
            duration_frame=500,
            annotations=[dict(segment=[2.0 + i, 9.0 + i], label='Jumping')],
            feature_frame=480,
            fps=25.0,
            rfps=25.0,
        )
    (folder / 'anno.json').write_text(json.dumps(annotation))


@pytest.mark.slow
def test_bmn_trains_an_epoch_and_tests_from_mmactions_own_config(tmp_path):
    write_activitynet(tmp_path)
    (tmp_path / 'bmn.py').write_text(BMN)
    printed = run_tool(tmp_path, 'train', 'bmn.py')
    assert 'Epoch(val) [1][4/4]' in printed
    checkpoint = 'work_dir/epoch_1.pth'
    tested = run_tool(tmp_path, 'test', 'bmn.py', checkpoint)
    assert f'Load checkpoint from {checkpoint}' in tested
    assert 'AR@AN' in tested or 'AR@100' in tested
    proposals = json.loads((tmp_path / 'work_dir/proposals.json').read_text())['results']
    assert sorted(proposals) == ['0', '1', '2', '3']
    resumed = run_tool(
        tmp_path, 'train', 'bmn.py', '--resume', '--amp', '--cfg-options', 'train_cfg.max_epochs=2'
    )
    assert 'resumed epoch: 1' in resumed
    assert (tmp_path / 'work_dir/epoch_2.pth').is_file()


@pytest.fixture(scope='module')
def registered():
    """What a process prints that imports this package and all modules of mmaction2, by line."""
    pytest.importorskip('mmaction')
    return run("""
import reloclnet_mm
import mmaction.models
from mmaction.utils import register_all_modules
register_all_modules()
from mmengine import registry
from mmaction.registry import MODELS
with registry.MODELS.switch_scope_and_registry(None) as models:
    print(models.get('BMN').__module__)
    print(models.get('reloclnet_mm.ReLoCLNet').__module__)
try:
    MODELS.build(dict(type='DRN', vocab_size=1301))
except ValueError as e:
    print(e)
""").split('\n', 2)


@pytest.mark.slow
def test_models_of_mmaction2_are_found_once_this_package_is_imported(registered):
    assert registered[:2] == ['mmaction.models.localizers.bmn', 'reloclnet_mm.models.reloclnet']


@pytest.mark.slow
def test_building_drn_where_it_is_missing_says_how_to_get_it(registered):
    assert 'DRN is not in this installation of mmaction2' in registered[2]
    assert 'pip install -e .' in registered[2]
    assert 'torchvision and nltk' in registered[2]


def test_where_mmaction2_has_drn_its_own_is_found(tmp_path):
    package = tmp_path / 'mmaction/models/localizers/drn'
    package.mkdir(parents=True)
    for folder in (package, *list(package.parents)[:3]):
        (folder / '__init__.py').touch()
    (package / '__init__.py').write_text('WHOLE = True\n')
    # The finders are installed alone, for importing torch takes seconds.
    printed = run(
        f"""
import importlib, runpy, sys
sys.path.insert(0, {str(tmp_path)!r})
runpy.run_path({str(REPOSITORY / 'reloclnet_mm/compat/mmaction2.py')!r})['install']()
print(importlib.import_module({DRN!r}).WHOLE)
"""
    )
    assert printed.split() == ['True']


def test_the_finders_are_added_once_and_answer_for_one_name_each():
    install()
    install()
    vindlu, drn = [finder for finder in sys.meta_path if isinstance(finder, StandInFinder)]
    # Packages that are imported later may put finders of their own at the end.
    assert sys.meta_path[0] is vindlu
    assert sys.meta_path.index(drn) > sys.meta_path.index(PathFinder)
    assert (vindlu.replaced, drn.replaced) == (VINDLU, DRN)
    for finder in (vindlu, drn):
        assert finder.find_spec('mmaction.models.localizers.bmn', None) is None
        assert finder.find_spec('drn', None) is None


def test_what_works_is_not_stood_in_for():
    assert StandInFinder(VINDLU, unless='json').find_spec(VINDLU, None) is None
    assert StandInFinder(VINDLU, unless='no_such_package').find_spec(VINDLU, None) is not None


def grounded(gt, predictions, **meta):
    """A batch and a result as DRN makes them: spans from 0 to 1, with scores."""
    sample = BaseDataElement(metainfo=dict(vid_name='A', **meta))
    result = dict(vid_name='A', gt=np.array(gt), predictions=np.array(predictions))
    return dict(inputs=None, data_samples=[sample]), [result]


def test_normalized_spans_are_scored_in_seconds():
    metric = METRICS.build(dict(type='GroundingRecall', top_k=(1, 2)))
    # Of 40 s: truth 10 to 20; 12 to 20 has an IoU of 0.8, 10 to 16 of 0.6, 30 to 40 of 0.
    metric.process(*grounded([0.25, 0.5], [[0.3, 0.5, 0.9], [0.75, 1, 0.1]], duration=40))
    metric.process(*grounded([0.25, 0.5], [[0.75, 1, 0.9], [0.25, 0.4, 0.1]], duration=40))
    metric.process(*grounded([0.25, 0.5], np.empty((0, 3)), duration=40))
    metrics = metric.evaluate(3)
    assert metrics == {
        'SVMR/R1@0.5': 33.33,
        'SVMR/R2@0.5': 66.67,
        'SVMR/R1@0.7': 33.33,
        'SVMR/R2@0.7': 33.33,
        'SVMR/R1@0.5+0.7': 66.66,
    }
    assert 'SVMR IoU 0.5' in result_table(metrics, metric.table_cells())


def test_parts_of_a_video_become_its_seconds():
    result = dict(vid_name='A', gt=[0.25, 0.5], predictions=[[0.3, 0.5, 0.9], [0.75, 1, 0.1]])
    answer = as_answer(result, 40)
    np.testing.assert_allclose(answer['gt']['moments'], [[10, 20]])
    np.testing.assert_allclose(answer['pred_svmr']['moments'], [[12, 20], [30, 40]])


def test_results_of_other_models_are_no_submission(tmp_path):
    metric = METRICS.build(dict(type='TVRSubmission', out_file=str(tmp_path / 'lists.json')))
    with pytest.raises(InputError, match=r"holds \['gt', 'predictions', 'vid_name'\] and no query"):
        metric.process(*grounded([0.25, 0.5], [[0.3, 0.5, 0.9]], duration=40))


def test_a_sample_without_a_duration_is_an_error():
    metric = GroundingRecall()
    with pytest.raises(InputError, match="add 'duration' to meta_keys of PackLocalizationInputs"):
        metric.process(*grounded([0.25, 0.5], [[0.3, 0.5, 0.9]]))
