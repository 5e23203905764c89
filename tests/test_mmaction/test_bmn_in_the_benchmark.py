"""mmaction2's BMN as a row of the benchmark, beside a model of ours on the same videos."""

import json

import h5py
import numpy as np
import pytest
from test_models_of_mmaction2 import BMN, write_activitynet
from tiny_corpus import CONFIG
from tool_processes import run_tool

from reloclnet_mm.evaluation.functional import temporal_iou

pytestmark = pytest.mark.slow

OURS = """
_base_ = {base!r}
files = dict(
    data_root='captions',
    feature_files=dict(_delete_=True, video='video.h5', subtitle='video.h5', query='query.h5'),
    channels=dict(video=8, subtitle=8, query=8),
)
reader = dict(
    _delete_=True, type='ActivityNetCaptionsReader', ann_file='val.json', video_index='val.json'
)
loading = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(dataset=dict(reader=reader, **files), **loading)
test_corpus_dataloader = dict(dataset=dict(reader=reader, **files), **loading)
model = dict(
    streams=dict(video=10, subtitle=10), query_channels=8, embed_dims=16, num_heads=2
)
"""


def write_captions(folder):
    """Two sentences for each of the videos that BMN is tested on."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    videos = {
        f'v_{i}': dict(
            duration=20.0, timestamps=[[2.0 + i, 9.0 + i], [0.0, 5.0]], sentences=['one', 'two']
        )
        for i in range(4)
    }
    (folder / 'val.json').write_text(json.dumps(videos))
    with h5py.File(folder / 'video.h5', 'w') as file:
        for name in videos:
            file[name] = rng.standard_normal((14, 8), dtype=np.float32)
    return videos


def test_bmn_has_svmr_from_its_proposals_and_empty_cells_elsewhere(tmp_path):
    write_activitynet(tmp_path)
    (tmp_path / 'bmn.py').write_text(BMN)
    run_tool(tmp_path, 'train', 'bmn.py')
    videos = write_captions(tmp_path / 'captions')
    (tmp_path / 'ours.py').write_text(OURS.format(base=str(CONFIG)))
    rng = np.random.default_rng(1)
    with h5py.File(tmp_path / 'captions/query.h5', 'w') as file:
        for name in videos:
            for i in range(2):
                file[f'val#{name}#{i}'] = rng.standard_normal((3, 8), dtype=np.float32)
    rows = ['ours.py', 'bmn.py:work_dir/epoch_1.pth']
    run_tool(tmp_path, 'benchmark', *rows, '--out', 'out')
    ours, bmn = json.loads((tmp_path / 'out/report.json').read_text())['rows']
    assert 'VCMR/R1@0.5' in ours['recalls']
    assert {name.split('/')[0] for name in bmn['recalls']} == {'SVMR'}
    assert any('without reading the query' in note for note in bmn['notes'])
    assert bmn['costs'].keys() == {'parameters', 'peak_memory_mb'}
    assert bmn['other']
    # What BMN itself wrote of its proposals.
    proposals = json.loads((tmp_path / 'work_dir/proposals.json').read_text())['results']
    for k in (1, 5):
        hits = [
            any(
                temporal_iou(x['segment'], moment) >= 0.5
                for x in sorted(proposals[name[2:]], key=lambda x: -x['score'])[:k]
            )
            for name, video in videos.items()
            for moment in video['timestamps']
        ]
        assert bmn['recalls'][f'SVMR/R{k}@0.5']['value'] == pytest.approx(100 * np.mean(hits))
