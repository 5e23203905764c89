"""A corpus of a few videos in TVR's layout, and the config for it."""

import itertools
import json
from pathlib import Path

import h5py
import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from reloclnet_mm.structures.packed_rows import PackedRows

REPOSITORY = Path(__file__).parents[1]
CONFIG = REPOSITORY / 'configs' / 'relocl_tvr.py'

CLIP_LENGTH = 1.5
MAX_CLIPS = 8
MAX_TOKENS = 4
CHANNELS = dict(video=6, subtitle=5, query=4)
FILES = dict(video='video.h5', subtitle='sub.h5', query='query.h5')
INDEX = 'index.json'
SHRUNK = ('streams', 'query_encoder', 'context_encoder', 'test_cfg')
_RUNS = itertools.count()
# Clips of each video: one of one clip, one longer than MAX_CLIPS, one of exactly as many.
NUM_CLIPS = dict(
    train=dict(a=5, b=11, c=7, d=8),
    val=dict(e=6, f=8, g=1, h=13),
)


def write_corpus(folder, seed=0):
    """Write features, annotations and index; returns the folder."""
    rng = np.random.default_rng(seed)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    index, query_id = {}, 0
    with (
        h5py.File(folder / FILES['video'], 'w') as video,
        h5py.File(folder / FILES['subtitle'], 'w') as subtitle,
        h5py.File(folder / FILES['query'], 'w') as query,
    ):
        for number, (split, videos) in enumerate(NUM_CLIPS.items()):
            lines = []
            index[split] = {}
            for row, (name, clips) in enumerate(videos.items()):
                duration = clips * CLIP_LENGTH
                index[split][name] = [duration, 10 * number + row]
                video[name] = features(rng, clips, CHANNELS['video'])
                subtitle[name] = features(rng, clips, CHANNELS['subtitle'])
                for query_type in ('v', 't'):
                    start = float(rng.uniform(0, duration / 2))
                    lines.append(
                        dict(
                            vid_name=name,
                            duration=duration,
                            ts=[start, start + duration / 3],
                            desc=f'query {query_id} in video {name}',
                            type=query_type,
                            desc_id=query_id,
                        )
                    )
                    query[str(query_id)] = features(rng, 2 + query_id % 4, CHANNELS['query'])
                    query_id += 1
            write_lines(folder / f'{split}.jsonl', lines)
    (folder / INDEX).write_text(json.dumps(index))
    return folder


def features(rng, rows, channels):
    return rng.standard_normal((rows, channels)).astype(np.float32)


def write_lines(path, records):
    path.write_text(''.join(json.dumps(record) + '\n' for record in records))


def read_lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def edit_line(path, number, **changes):
    """Change fields of a line, from 1; None removes one."""
    records = read_lines(path)
    record = records[number - 1] | changes
    records[number - 1] = {name: x for name, x in record.items() if x is not None}
    write_lines(path, records)


def edit_features(path, key, rows):
    """Replace the array of a key; None removes the key."""
    with h5py.File(path, 'r+') as file:
        del file[key]
        if rows is not None:
            file[key] = rows


def files_of(folder, streams=('video', 'subtitle')):
    """Settings of the features, which all data sets have."""
    names = [*streams, 'query']
    return dict(
        data_root=str(folder),
        feature_files={name: FILES[name] for name in names},
        channels={name: CHANNELS[name] for name in names},
        normalize=[name for name in names if name != 'video'],
        clip_length=CLIP_LENGTH,
        max_clips=MAX_CLIPS,
        max_tokens=MAX_TOKENS,
    )


def reader(split, queries=True):
    """Config of the reader of a split."""
    files = dict(ann_file=f'{split}.jsonl') if queries else {}
    return dict(type='reloclnet_mm.TVRReader', video_index=INDEX, split=split, **files)


def query_dataset(folder, split='train', pipeline=(), streams=('video', 'subtitle'), **others):
    """Config of the data set of queries."""
    settings = dict(
        type='reloclnet_mm.QueryDataset',
        reader=reader(split),
        pipeline=list(pipeline),
        **files_of(folder, streams),
    )
    return settings | others


def corpus_dataset(folder, split='val', pipeline=(), streams=('video', 'subtitle'), **others):
    """Config of the data set of videos."""
    settings = dict(
        type='reloclnet_mm.CorpusDataset',
        reader=reader(split, queries=False),
        pipeline=list(pipeline),
        **files_of(folder, streams),
    )
    return settings | others


def tiny_model(**changes):
    """Config of the model at the corpus's widths."""
    settings = dict(
        type='reloclnet_mm.ReLoCLNet',
        streams=dict(video=CHANNELS['video'] + 2, subtitle=CHANNELS['subtitle'] + 2),
        query_channels=CHANNELS['query'],
        embed_dims=16,
        num_heads=2,
        query_encoder=dict(type='reloclnet_mm.QueryEncoder', max_tokens=MAX_TOKENS),
        context_encoder=dict(type='reloclnet_mm.ContextEncoder', max_clips=MAX_CLIPS),
        span_head=dict(type='reloclnet_mm.MergedSpanHead'),
        loss_ranking=dict(type='reloclnet_mm.RankingLoss'),
        loss_span=dict(type='reloclnet_mm.SpanLoss'),
        loss_frame=dict(type='reloclnet_mm.FrameContrastiveLoss'),
        loss_video=dict(type='reloclnet_mm.VideoContrastiveLoss'),
        data_preprocessor=dict(type='reloclnet_mm.MomentDataPreprocessor'),
        test_cfg=dict(num_videos=3, alpha=20.0, min_span=1, max_span=5, num_moments=10),
    )
    return settings | changes


def plus_model(**changes):
    """Config of ReLoCLNetPlus at the corpus's widths."""
    kept = ('streams', 'query_channels', 'embed_dims', 'num_heads', 'data_preprocessor')
    ranking = dict(num_videos=3, moment_videos=2, min_span=1, max_span=5, num_moments=10)
    settings = dict(
        {name: x for name, x in tiny_model().items() if name in kept},
        type='reloclnet_mm.ReLoCLNetPlus',
        query_encoder=dict(type='reloclnet_mm.ResidualQueryEncoder', max_tokens=MAX_TOKENS),
        context_encoder=dict(type='reloclnet_mm.ResidualContextEncoder'),
        span_head=dict(type='reloclnet_mm.SpanMapHead'),
        loss_ranking=dict(type='reloclnet_mm.BatchSoftmaxLoss'),
        loss_span=dict(type='reloclnet_mm.SpanMapLoss'),
        test_cfg=dict(ranking, span_end='inclusive'),
    )
    return settings | changes


def tiny_config(folder, work_dir, epochs=1):
    """configs/relocl_tvr.py shrunk to the corpus: small, in one process, quiet."""
    cfg = Config.fromfile(CONFIG)
    loading = dict(num_workers=0, persistent_workers=False)
    dataset = files_of(folder)
    corpus = dict(num_workers=0, dataset=dataset | dict(reader=dict(video_index=INDEX)))
    queries = {
        split: dict(**loading, dataset=dataset | dict(reader=reader(split))) for split in NUM_CLIPS
    }
    model = {name: x for name, x in tiny_model().items() if not isinstance(x, dict)}
    cfg.merge_from_dict(
        dict(
            work_dir=str(work_dir),
            experiment_name=f'tiny_{next(_RUNS)}',
            train_dataloader=queries['train'] | dict(batch_size=3),
            val_dataloader=queries['val'],
            test_dataloader=queries['val'],
            val_corpus_dataloader=corpus,
            test_corpus_dataloader=corpus,
            train_cfg=dict(max_epochs=epochs),
            model=model | {name: tiny_model()[name] for name in SHRUNK},
            visualizer=dict(vis_backends=[dict(type='LocalVisBackend')]),
            log_level='WARNING',
        )
    )
    return cfg


def pipelines_of(cfg):
    return [
        cfg.train_dataloader.dataset.pipeline,
        cfg.val_dataloader.dataset.pipeline,
        cfg.test_dataloader.dataset.pipeline,
        cfg.val_corpus_dataloader.dataset.pipeline,
        cfg.test_corpus_dataloader.dataset.pipeline,
    ]


def tiny_runner(folder, work_dir, **settings):
    """A runner of :func:`tiny_config`, with some settings changed."""
    cfg = tiny_config(folder, work_dir, settings.pop('epochs', 1))
    cfg.merge_from_dict(settings)
    return Runner.from_cfg(cfg)


def random_inputs(batch, *, clips, tokens, streams=('video', 'subtitle'), seed=0):
    """A batch as the model takes it, padded: :func:`packed` of :func:`raw_inputs`."""
    return packed(raw_inputs(batch, clips=clips, tokens=tokens, streams=streams, seed=seed))


def raw_inputs(batch, *, clips, tokens, streams=('video', 'subtitle'), seed=0):
    """The padded tensors and masks of a batch, by name.

    Args:
        batch: Number of samples.
        clips: Valid clips of each sample; the first so many of the batch are used.
        tokens: Valid tokens of each sample.
        streams: Names.
        seed: Of the features.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(lengths, channels):
        longest = max(lengths[:batch])
        mask = torch.arange(longest) < torch.tensor(lengths[:batch])[:, None]
        rows = torch.randn(batch, longest, channels, generator=generator)
        return rows * mask[..., None], mask

    inputs = {}
    inputs['query'], inputs['query_mask'] = draw(tokens, CHANNELS['query'])
    for stream in streams:
        inputs[stream], inputs['clip_mask'] = draw(clips, CHANNELS[stream] + 2)
    return inputs


def streams_of(raw):
    """The clip features of :func:`raw_inputs` alone."""
    return {name: raw[name] for name in raw.keys() - {'query', 'query_mask', 'clip_mask'}}


def packed(raw):
    """Padded tensors as the model takes them, padding included."""
    return dict(
        query=PackedRows.padded({'query': raw['query']}, raw['query_mask']),
        clips=PackedRows.padded(streams_of(raw), raw['clip_mask']),
    )
