"""An inferencer with a tiny encoder and random weights, and subtitles to index."""

import torch
from mmengine.config import Config
from tiny_corpus import REPOSITORY
from tiny_encoder import WIDTH, write_tiny_encoder

from reloclnet_mm.apis import MomentInferencer, init_model
from reloclnet_mm.engine.checkpointing.published import save_published

CLIP, WINDOW, STRIDE, POOLED = 2.0, 8, 4, 4
SENTENCES = (
    'the man climbs a wall',
    'a dog runs home',
    'the woman paints the fence red',
    'a cat jumps',
    'the man throws a ball',
    'then the woman washes the car',
)


def tiny_config(folder, **changes):
    """The config of the shipped model for a tiny encoder, which is written into a folder."""
    encoder = folder / 'encoder'
    if not encoder.exists():
        encoder.mkdir(parents=True)
        write_tiny_encoder(encoder)
    cfg = Config.fromfile(REPOSITORY / 'configs/relocl_speech.py')
    spoken = dict(type='TextFeatures', encoder=str(encoder), max_tokens=24, pool='mean')
    sizes = {
        f'{loader}.dataset': dict(channels=dict(subtitle=WIDTH, query=WIDTH), max_clips=POOLED)
        for loader in ('test_dataloader', 'test_corpus_dataloader')
    }
    cfg.merge_from_dict(
        {
            'model.streams.subtitle': WIDTH,
            'model.query_channels': WIDTH,
            'model.embed_dims': 16,
            'model.num_heads': 2,
            'model.test_cfg.max_span': POOLED + 1,
            'recipe.streams.subtitle': spoken,
            'recipe.query': spoken,
            'recipe.speech': None,
            'windows.clips': WINDOW,
            'windows.stride': STRIDE,
            **sizes,
            **changes,
        }
    )
    return cfg


def write_weights(cfg, path, seed=0):
    """Weights that are not those at the begin of training, which would add nothing."""
    model = init_model(cfg)
    torch.manual_seed(seed)
    with torch.no_grad():
        for x in model.parameters():
            x.add_(0.1 * torch.randn_like(x))
    save_published(model, path, torch.float32)
    return path


def tiny_inferencer(folder, **changes):
    """The inferencer of :func:`tiny_config`, without an index."""
    cfg = tiny_config(folder, **changes)
    weights = folder / 'weights.safetensors'
    if not weights.exists():
        write_weights(cfg, weights)
    return MomentInferencer(cfg, weights, 'cpu', show_progress=False)


def write_srt(path, count, first=0, seconds=4.0):
    """Subtitles of so many sentences, one after another without a pause."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cues = []
    for i in range(count):
        text = SENTENCES[(first + i) % len(SENTENCES)]
        cues.append(f'{i + 1}\n{_time(i * seconds)} --> {_time((i + 1) * seconds)}\n{text}\n')
    path.write_text('\n'.join(cues))
    return path


def _time(seconds):
    minutes, rest = divmod(round(seconds * 1000), 60_000)
    return f'00:{minutes:02}:{rest // 1000:02},{rest % 1000:03}'


def write_talks(folder):
    """Three files of subtitles, of one window, of exactly one, and of three."""
    for name, count, first in (('short', 2, 1), ('whole', 4, 2), ('long', 8, 3)):
        write_srt(folder / f'{name}.srt', count, first)
    return folder


def write_tiny_model(folder):
    """Write config and weights of :func:`tiny_config`, and return the options that name them."""
    cfg = tiny_config(folder)
    cfg.dump(folder / 'tiny.py')
    write_weights(cfg, folder / 'tiny.safetensors')
    return '--model', folder / 'tiny.py', '--weights', folder / 'tiny.safetensors'
