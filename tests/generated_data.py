"""Small data in the layout that a config expects: its files, its widths, a few videos."""

import json
import math
from pathlib import Path

import h5py
import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.registry import DefaultScope
from tiny_corpus import features, write_lines

from reloclnet_mm.features.packed_writer import write_packed
from reloclnet_mm.registry import MODELS, TASK_UTILS
from reloclnet_mm.structures.video_lists import VideoLists

SMALL = dict(embed_dims=16, num_heads=2)
LOADERS = tuple(
    f'{name}_dataloader' for name in ('train', 'val', 'val_corpus', 'test', 'test_corpus')
)
# Seconds, of which DiDeMo has multiples of its cell of 5 s. Where a tenth is held out, d is.
DURATIONS = dict(a=25.0, b=30.0, c=30.0, d=20.0)
QUERIES = [(name, [5.0 * i, 5.0 * i + 10.0]) for name in DURATIONS for i in range(2)]


def small(cfg, work_dir):
    """A config in one process, with a quiet console."""
    loading = dict(num_workers=0, persistent_workers=False)
    changes = dict(
        work_dir=str(work_dir),
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
        model=dict(test_cfg=dict(num_videos=len(DURATIONS))),
        visualizer=dict(vis_backends=[dict(type='LocalVisBackend')]),
        log_level='WARNING',
        **{name: loading for name in LOADERS if cfg[name]},
    )
    cfg.merge_from_dict(changes)
    return cfg


def shrink(model):
    """Make a model, or the stages of one, small."""
    for stage in (model, model.get('first_stage', {}), model.get('second_stage', {})):
        stage.update({key: x for key, x in SMALL.items() if key in stage})


def write_data(cfg, folder):
    """Write the files of all data sets of a config, and let it read them from ``folder``."""
    datasets = [cfg[name].dataset for name in LOADERS if cfg[name]]
    for dataset in datasets:
        dataset.data_root = str(folder)
        ANNOTATION[dataset.reader.type](folder, dataset.reader)
    if 'data_root' in cfg.model.get('data_preprocessor', {}):
        cfg.model.data_preprocessor.data_root = str(folder)
    if 'reader' in cfg.model:
        cfg.model.reader.data_root = str(folder)
        ANNOTATION[cfg.model.reader.type](folder, cfg.model.reader)
    lengths, widths = {}, {}
    for view in views_of(datasets):
        for name, rows in num_rows(view).items():
            path = folder / view.feature_files[name]
            lengths.setdefault(path, {}).update(rows)
            widths[path] = view.channels[name]
    rng = np.random.default_rng(0)
    for path, rows in lengths.items():
        arrays = {key: features(rng, n, widths[path]) for key, n in rows.items()}
        if path.stem.endswith('_times'):
            arrays = {key: np.sort(np.abs(x)) for key, x in arrays.items()}
        write_file(path, arrays)
    if 'first_stage' in cfg.model:
        write_first_stage(cfg, folder)


def views_of(datasets):
    """The settings of data sets, and those that a second stage has for the same videos."""
    for dataset in datasets:
        yield dataset
        if dataset.get('second_stage'):
            shared = dict(reader=dataset.reader, data_root=dataset.data_root)
            yield ConfigDict(**dataset.second_stage, **shared)


def write_first_stage(cfg, folder):
    """Write weights of a first stage, and lists of all videos for the training queries."""
    first, dataset = cfg.model.first_stage, cfg.train_dataloader.dataset
    first.init_cfg.checkpoint = str(folder / 'first.pth')
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        model = MODELS.build({key: x for key, x in first.items() if key != 'init_cfg'})
        reader = TASK_UTILS.build(dict(dataset.reader, data_root=dataset.data_root))
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict()), first.init_cfg.checkpoint)
    videos = {video.video_id: name for name, video in reader.videos().items()}
    write_lists(folder / dataset.lists, videos, reader.texts(), model.checksum())
    dataset.num_negatives = len(videos) - 1


def write_lists(path, videos, query_ids, model):
    """Write lists of all videos in the order of their ids."""
    ids = [torch.tensor(sorted(videos))] * len(query_ids)
    scores = [torch.linspace(1, 0, len(videos))] * len(query_ids)
    VideoLists.of(list(query_ids), ids, scores, videos, model).save(path)


def num_rows(dataset):
    """Rows by key of each feature file of a data set, as its clip length has it."""
    with DefaultScope.overwrite_default_scope('reloclnet_mm'):
        reader = TASK_UTILS.build(dict(dataset.reader, data_root=dataset.data_root))
    videos = reader.videos()
    seconds = dataset.get('clip_length')
    seconds = seconds if isinstance(seconds, float) else 1.0
    clips = {name: math.ceil(video.duration / seconds) for name, video in videos.items()}
    queries = dict.fromkeys(reader.texts() if reader.ann_file else (), 4)
    return {name: queries if name == 'query' else clips for name in dataset.feature_files}


def write_file(path, arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == '.pack':
        write_packed(path, arrays.items(), overwrite=True)
        return
    with h5py.File(path, 'w') as file:
        for key, rows in arrays.items():
            file[key] = rows


def write_tvr(folder, reader):
    if reader.get('ann_file'):
        lines = [
            dict(desc_id=i, desc='a query', vid_name=name, duration=DURATIONS[name], ts=times)
            for i, (name, times) in enumerate(QUERIES)
        ]
        write_lines(folder / reader.ann_file, lines)
    if reader.get('video_index'):
        videos = {name: [duration, i] for i, (name, duration) in enumerate(DURATIONS.items())}
        index = dict.fromkeys(('train', 'val'), videos)
        (folder / reader.video_index).write_text(json.dumps(index))


def write_activitynet(folder, reader):
    entries = {}
    for name, times in QUERIES:
        entry = dict(duration=DURATIONS[name], timestamps=[], sentences=[])
        entries.setdefault(name, entry)['timestamps'].append(times)
        entries[name]['sentences'].append('a query')
    (folder / reader.ann_file).write_text(json.dumps(entries))


def write_charades(folder, reader):
    lines = [f'{name} {start} {end}##a query.' for name, (start, end) in QUERIES]
    (folder / reader.ann_file).write_text('\n'.join(lines))
    index = {name: dict(duration=duration) for name, duration in DURATIONS.items()}
    (folder / reader.video_index).write_text(json.dumps(index))


def write_didemo(folder, reader):
    entries = [
        dict(
            annotation_id=i,
            description='a query',
            video=name,
            num_segments=int(DURATIONS[name] / 5),
            times=[[int(start / 5), int(end / 5) - 1]] * 4,
        )
        for i, (name, (start, end)) in enumerate(QUERIES)
    ]
    (folder / reader.ann_file).write_text(json.dumps(entries))


def write_qvhighlights(folder, reader):
    lines = [
        dict(
            qid=i,
            query='a query',
            vid=name,
            duration=DURATIONS[name],
            relevant_windows=[times, [16.0, 20.0]],
        )
        for i, (name, times) in enumerate(QUERIES)
    ]
    write_lines(folder / Path(reader.ann_file), lines)


def write_tvr_ranking(folder, reader):
    if reader.get('ann_file'):
        entries = []
        for i, (name, times) in enumerate(QUERIES):
            other = next(x for x in DURATIONS if x != name)
            moments = [
                dict(video_name=x, timestamp=ts, duration=DURATIONS[x], relevance=relevance)
                for x, ts, relevance in ((name, times, 4), (other, [0.0, 9.0], 2))
            ]
            entries.append(dict(query_id=i, query='a query', relevant_moment=moments))
        (folder / reader.ann_file).write_text(json.dumps(entries))
    (folder / reader.video_index).write_text(json.dumps(DURATIONS))


ANNOTATION = dict(
    TVRReader=write_tvr,
    ActivityNetCaptionsReader=write_activitynet,
    CharadesSTAReader=write_charades,
    DiDeMoReader=write_didemo,
    QVHighlightsReader=write_qvhighlights,
    TVRRankingReader=write_tvr_ranking,
)
