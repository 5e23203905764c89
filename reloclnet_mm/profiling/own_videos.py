"""Indexing own videos, and a query over many hours of them."""

import itertools
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.content import VideoContent
from reloclnet_mm.extraction.frames import FrameFeatures, sampled_frames
from reloclnet_mm.extraction.media import probe
from reloclnet_mm.extraction.subtitles import TimedSentence
from reloclnet_mm.extraction.talks import read_talks, timed_sentences, write_talk
from reloclnet_mm.indexing.null_queries import null_queries
from reloclnet_mm.indexing.records import VideoRecord
from reloclnet_mm.indexing.store import VideoIndex
from reloclnet_mm.profiling.harness import Subject, Workload
from reloclnet_mm.structures import EncodedCorpus, RowLayout

_SPOKEN, _FRAMES_A_SECOND = 3, 2.0
# Length of what is added to an encoded clip to make another one, beside its own length of 1.
_NOISE = 0.5


def write_talks(folder: Path) -> dict[str, float]:
    """Write talks with subtitles, and some with speech where there is a synthesizer.

    Args:
        folder: Where.

    Returns:
        Name of the folder below to the seconds of its videos.
    """
    talks = read_talks().talks
    for talk in talks:
        write_talk(talk, folder / 'subtitles', False)
    if shutil.which('espeak-ng'):
        for talk in talks[:_SPOKEN]:
            write_talk(talk, folder / 'speech', True)
    return {
        path.name: sum(probe(video).duration for video in path.glob('*.mp4'))
        for path in sorted(folder.iterdir())
    }


def subjects(folder: Path, image_encoder: str | None) -> list[Subject]:
    """List what is measured: indexing of each folder, and frames beside decoding alone.

    Args:
        folder: Folder of :func:`write_talks`.
        image_encoder: Encoder of frames; None: frames are not measured.
    """
    found = [
        Subject(f'indexing, {path.name}', index, dict(folder=str(path)))
        for path in sorted(folder.iterdir())
    ]
    if image_encoder is not None:
        videos = str(folder / 'subtitles')
        found += [
            Subject('frames, decoded and encoded', frames, dict(folder=videos, name=image_encoder)),
            Subject('frames, decoded alone', decoding, dict(folder=videos)),
        ]
    return found


def index(folder: str) -> Workload:
    """Prepare indexing of a folder from nothing, with the model that comes with the package."""
    inferencer = MomentInferencer('relocl_speech', device='cpu', show_progress=False)

    def work() -> str:
        inferencer.use(inferencer.empty_index())
        failed = inferencer.add(folder).failed
        if failed:
            raise InputError(next(iter(failed.values())))
        return Path(folder).name

    return work


def frames(folder: str, name: str) -> Workload:
    """Prepare decoding and encoding of the frames of all videos of a folder."""
    extractor = FrameFeatures(encoder=name, fps=_FRAMES_A_SECOND)
    videos = [
        VideoContent(path, probe(path).duration, True, ())
        for path in sorted(Path(folder).glob('*.mp4'))
    ]

    def work() -> str:
        for video in videos:
            extractor.extract(video, 2.0)
        return Path(folder).name

    return work


def decoding(folder: str) -> Workload:
    """Prepare decoding alone."""
    videos = sorted(Path(folder).glob('*.mp4'))

    def work() -> str:
        for video in videos:
            for _ in sampled_frames(video, _FRAMES_A_SECOND, 224):
                pass
        return Path(folder).name

    return work


def write_long_index(folder: Path, hours: int) -> None:
    """Write an index of so many videos of an hour.

    Their clips are encoded clips of the talks with random vectors added, so that they lie as
    real ones do, in groups.

    Args:
        folder: Folder of the index.
        hours: Number of videos.
    """
    inferencer = MomentInferencer('relocl_speech', device='cpu', show_progress=False)
    _long_index(inferencer, hours).save(folder)


def query(folder: str) -> Workload:
    """Prepare one query at a time over an index, as a program that opens it does."""
    inferencer = MomentInferencer.from_index(folder, device='cpu', show_progress=False)
    texts = itertools.cycle([q.text for talk in read_talks().talks for q in talk.queries])
    inferencer(null_queries()[0])

    def work() -> float:
        return inferencer(next(texts))[0].score

    return work


def _long_index(inferencer: MomentInferencer, hours: int) -> VideoIndex:
    real = _encoded_talks(inferencer)
    starts = inferencer.windows.starts(round(3600 / inferencer.recipe.clip_length))
    count, clips = len(starts), int(real.layout.lengths.max())
    generator = torch.Generator().manual_seed(0)
    made = inferencer.empty_index()
    seconds = inferencer.recipe.clip_length
    for number in range(hours):
        chosen = torch.randint(
            len(real.rows['retrieval']['subtitle']), (count * clips,), generator=generator
        )
        units = real.rows['retrieval']['subtitle'][chosen]
        noise = torch.randn(units.shape, generator=generator) * _NOISE / units.shape[1] ** 0.5
        ids = torch.arange(made.next_window, made.next_window + count)
        windows = EncodedCorpus(
            video_names=('x',) * count,
            video_ids=ids,
            seconds_per_clip=torch.full((count,), 2 * seconds, dtype=torch.float64),
            positions=ids,
            layout=RowLayout.stack([clips] * count, [clips] * count),
            rows=dict(
                retrieval=dict(subtitle=F.normalize(units + noise, dim=1)),
                localization=dict(subtitle=real.rows['localization']['subtitle'][chosen]),
            ),
        )
        record = VideoRecord(
            name=f'{number}',
            path=f'{number}.mp4',
            duration=3600.0,
            has_video=False,
            num_sentences=1,
            files=(),
            first_window=made.next_window,
            starts=tuple(seconds * start for start in starts),
        )
        made.add(record, windows, [TimedSentence('said', 0.0, 3600.0)])
    return made


def _encoded_talks(inferencer: MomentInferencer) -> EncodedCorpus:
    """Encode the talks, from their texts alone."""
    parts = []
    for talk in read_talks().talks:
        said = timed_sentences(talk)
        content = VideoContent(Path(talk.name), said[-1].end, False, said)
        features = inferencer.recipe.extract(content)
        part, _ = inferencer.adder.encode(talk.name, features, sum(map(len, parts)))
        parts.append(part)
    return EncodedCorpus.merge(parts)
