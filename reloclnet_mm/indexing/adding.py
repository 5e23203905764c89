"""Adding videos to an index."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import torch
from mmengine.dataset import pseudo_collate

from reloclnet_mm.datasets.base import FeatureDataset
from reloclnet_mm.datasets.packing import pack_loaded
from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.own_videos import subtitles_of
from reloclnet_mm.extraction.recipe import FeatureRecipe, VideoFeatures
from reloclnet_mm.indexing.records import FileStamp, VideoRecord, unique_name
from reloclnet_mm.indexing.store import Corpus, VideoIndex
from reloclnet_mm.indexing.windows import Windows
from reloclnet_mm.models.corpus_model import CorpusModel

# Windows that pass through the model together.
_WINDOWS_AT_ONCE = 64


@dataclass
class AddReport:
    """What became of the files that were to be added.

    Attributes:
        added: Names of new videos.
        updated: Names of videos whose files had changed.
        unchanged: Names of videos that are in the index as they are.
        failed: File to the reason why it was left out.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoAdder:
    """Makes features of videos, encodes them and adds them to an index.

    Attributes:
        model: Encodes them.
        recipe: Makes the features.
        data: Data set whose pipeline packs them for the model.
        windows: How long videos are divided.
    """

    model: CorpusModel
    recipe: FeatureRecipe
    data: FeatureDataset
    windows: Windows

    def add(
        self,
        index: VideoIndex,
        files: Iterable[tuple[Path, Path]],
        *,
        save_to: str | os.PathLike | None = None,
        save_every: float = 60.0,
        names: Mapping[str, str],
        advance: Callable[[int], object],
    ) -> AddReport:
        """Add videos; those that have not changed are passed over.

        A file that cannot be used does not stop the others.

        Args:
            index: Index to add to.
            files: Files, and the folder that each was found in.
            save_to: Folder in which the index is saved on the way; None: it is not.
            save_every: Seconds from one time to the next.
            names: Names of new videos by path; not there: made of the path.
            advance: Called with the number of files done since the last call.

        Raises:
            InputError: The index cannot be saved.
        """
        report, saved = AddReport(), monotonic()
        known = {record.path: record for record in index.videos.values()}
        for path, root in files:
            try:
                old, name = known.get(str(path)), names.get(str(path))
                self._add_file(index, path, root, old, name, report)
            except InputError as error:
                report.failed[str(path)] = str(error)
            if save_to is not None and monotonic() - saved >= save_every:
                index.save(save_to)
                saved = monotonic()
            advance(1)
        return report

    @torch.no_grad()
    def encode(
        self, name: str, features: VideoFeatures, first_window: int
    ) -> tuple[Corpus, list[int]]:
        """Encode a video in windows.

        Args:
            name: Its name.
            features: Its features.
            first_window: Id of its first window.

        Returns:
            The windows, and the first clip of each.
        """
        starts = self.windows.starts(len(next(iter(features.streams.values()))))
        samples = []
        for number, start in enumerate(starts, start=first_window):
            part = slice(start, start + self.windows.clips)
            clips = {stream: x[part] for stream, x in features.streams.items()}
            record = dict(clips=clips, video_name=name, video_id=number, sample_idx=number)
            samples.append(pack_loaded(self.data, record))
        batches = (
            pseudo_collate(samples[begin : begin + _WINDOWS_AT_ONCE])
            for begin in range(0, len(samples), _WINDOWS_AT_ONCE)
        )
        return self.model.encode_corpus(batches).to('cpu'), starts

    def _add_file(
        self,
        index: VideoIndex,
        path: Path,
        root: Path,
        old: VideoRecord | None,
        name: str | None,
        report: AddReport,
    ) -> None:
        subtitles = subtitles_of(path)
        files = [path, *([subtitles] if subtitles else [])]
        if old is not None and old.is_current(files):
            if not all(x.is_untouched() for x in old.files):
                index.renew_stamps(old.name, tuple(map(FileStamp.of, files)))
            report.unchanged.append(old.name)
            return
        _check_name(path)
        stamps = tuple(map(FileStamp.of, files))
        features = self.recipe.extract(self.recipe.read(path))
        if old is not None:
            name = old.name
        elif name is None or name in index.videos:
            name = unique_name(path, root, index.videos)
        windows, starts = self.encode(name, features, index.next_window)
        content = features.content
        record = VideoRecord(
            name=name,
            path=str(path),
            duration=content.duration,
            has_video=content.has_pictures,
            num_sentences=len(content.sentences),
            files=stamps,
            first_window=index.next_window,
            starts=tuple(start * self.recipe.clip_length for start in starts),
        )
        index.add(record, windows, content.sentences)
        # Its subtitles may have been indexed while the video was not there.
        for other in [
            x.name for x in index.videos.values() if subtitles and x.path == str(subtitles)
        ]:
            index.remove(other)
        (report.added if old is None else report.updated).append(name)


def _check_name(path: Path) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(f'{str(path)!r}: the name is not UTF-8; rename the file') from error
