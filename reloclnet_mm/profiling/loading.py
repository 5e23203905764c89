"""Load a batch of clips from h5 and from packed stores."""

from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from torch.utils.data import DataLoader, Dataset

from reloclnet_mm.datasets import join_rows
from reloclnet_mm.features.packed_writer import write_packed
from reloclnet_mm.models.data_preprocessors.packing import MomentDataPreprocessor
from reloclnet_mm.profiling.harness import Subject, Workload

CLIPS_A_VIDEO = 50


class _Clips(Dataset):
    """Read the videos of a feature file through the transforms of a training pipeline."""

    def __init__(self, path: Path, channels: int, num_videos: int, num_samples: int) -> None:
        self.record = dict(
            feature_files=dict(video=str(path)),
            channels=dict(video=channels),
            clip_length=1.5,
            max_clips=128,
        )
        self.num_videos = num_videos
        self.num_samples = num_samples
        with DefaultScope.overwrite_default_scope('reloclnet_mm'):
            self.pipeline = Compose(
                [
                    dict(type='LoadClipFeatures'),
                    dict(type='PoolClips'),
                    dict(type='AppendTEF'),
                    dict(type='PackMomentInputs'),
                ]
            )

    def __len__(self) -> int:
        return self.num_samples

    def __getitem__(self, number: int) -> dict:
        name = str(number * 7919 % self.num_videos)
        return self.pipeline(dict(self.record, video_name=name, video_id=number))


def write_files(folder: Path, num_videos: int, channels: int) -> dict[str, Path]:
    """Write the same random features as h5 and as packed stores.

    Args:
        folder: Folder to write to.
        num_videos: Number of videos, each of 50 clips.
        channels: Width of the features of a clip.

    Returns:
        Name of the kind of file to its path.
    """
    generator = np.random.default_rng(0)
    paths = {
        'h5 float32': folder / 'video.h5',
        'packed float32': folder / 'video32.pack',
        'packed float16': folder / 'video16.pack',
    }
    with h5py.File(paths['h5 float32'], 'w') as file:
        for number in range(num_videos):
            rows = generator.standard_normal((CLIPS_A_VIDEO, channels), dtype=np.float32)
            file[str(number)] = rows
        for kind, dtype in (('packed float32', 'float32'), ('packed float16', 'float16')):
            videos = ((name, array[:]) for name, array in file.items())
            write_packed(paths[kind], videos, dtype, overwrite=True)
    return paths


def batches(path: Path, channels: int, num_videos: int, batch_size: int, workers: int) -> Workload:
    """Prepare taking the next batch from a dataloader and packing it for the model."""
    dataset = _Clips(path, channels, num_videos, num_samples=batch_size * 1000)
    loader = DataLoader(dataset, batch_size, num_workers=workers, collate_fn=join_rows)
    preprocessor = MomentDataPreprocessor()
    iterator: Iterator[dict] = iter(loader)

    def work() -> None:
        preprocessor(next(iterator))

    return work


def subjects(
    paths: dict[str, Path], channels: int, num_videos: int, batch_size: int, workers: int
) -> list[Subject]:
    """Return one subject for each kind of file."""
    common = dict(channels=channels, num_videos=num_videos, batch_size=batch_size, workers=workers)
    return [Subject(kind, batches, dict(common, path=path)) for kind, path in paths.items()]
