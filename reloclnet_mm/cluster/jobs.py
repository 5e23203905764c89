"""What is done to one shard, by a process of Ray or by this one."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.config import Config

from reloclnet_mm.apis import MomentInferencer
from reloclnet_mm.errors import InputError
from reloclnet_mm.indexing.adding import AddReport
from reloclnet_mm.models.corpus_model import CorpusModel
from reloclnet_mm.models.two_stage import TwoStageRetriever


@dataclass(frozen=True)
class ModelSource:
    """By what a process on the cluster makes its inferencer.

    Attributes:
        model: As for :class:`~reloclnet_mm.apis.MomentInferencer`; None: that of the index.
        weights: As there.
        device: As there.
    """

    model: str | Config | None
    weights: str | None
    device: str

    @staticmethod
    def of(
        model: str | Path | Config | None, weights: str | Path | None, device: str | None
    ) -> 'ModelSource':
        """Make paths absolute, for processes of Ray have another working folder.

        Args:
            model: As for :class:`~reloclnet_mm.apis.MomentInferencer`.
            weights: As there.
            device: None: the CPU, for Ray hands out GPUs only where they are asked for.
        """
        if isinstance(model, str | Path) and Path(model).is_file():
            model = str(Path(model).resolve())
        return ModelSource(model, weights and str(Path(weights).resolve()), device or 'cpu')

    def open(self, folder: str | os.PathLike) -> MomentInferencer:
        """Open the index of a shard.

        Raises:
            InputError: It cannot be used.
        """
        return MomentInferencer.from_index(
            folder, self.model, self.weights, self.device, show_progress=False
        )


@dataclass(frozen=True)
class ShardJob:
    """A change of one shard, which may be repeated: what is done already is passed over.

    Attributes:
        folder: Folder of the shard.
        source: Makes the inferencer.
        files: Files to add.
        names: Names of new files by path.
        update: Whether to look at all files of the shard for changes.
        remove: Names of videos to remove.
        save_every: Seconds from one time that the shard is saved to the next.
    """

    folder: Path
    source: ModelSource
    files: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    update: bool = False
    remove: tuple[str, ...] = ()
    save_every: float = 60.0

    def run(self, advance: Callable[[int], object]) -> AddReport:
        """Change the shard and save it.

        Args:
            advance: Called with the number of files done since the last call.

        Raises:
            InputError: The shard cannot be used, or something else made it.
        """
        inferencer = self.source.open(self.folder)
        there = {video.name for video in inferencer.videos}
        inferencer.remove([name for name in self.remove if name in there])
        report = AddReport()
        if self.update:
            report = inferencer.update(save_to=self.folder, advance=advance)
        if self.files:
            report = inferencer.add(
                self.files,
                save_to=self.folder,
                save_every=self.save_every,
                names=self.names,
                advance=advance,
            )
        inferencer.save(self.folder)
        return report


def refuse_two_stages(model: CorpusModel, folder: str | os.PathLike) -> None:
    """Refuse a model whose second stage would need the rows of all shards in one process.

    Args:
        model: The model.
        folder: Folder of the index in shards.

    Raises:
        InputError: It has two stages.
    """
    if isinstance(model, TwoStageRetriever):
        raise InputError(
            f'{folder}: {type(model).__name__} has two stages, and an index in shards is searched '
            'by models of one; make an index in a single folder, without --ray'
        )


def merged(reports: Iterable[AddReport], new: Iterable[str]) -> AddReport:
    """Join the reports of shards.

    Args:
        reports: The reports.
        new: Names that no shard had before. Where a job was repeated it finds what its lost
            process had added, unchanged.
    """
    whole, new = AddReport(), {*new}
    for report in reports:
        whole.added += [*report.added, *(x for x in report.unchanged if x in new)]
        whole.updated += report.updated
        whole.unchanged += [x for x in report.unchanged if x not in new]
        whole.failed |= report.failed
    for names in (whole.added, whole.updated, whole.unchanged):
        names.sort()
    return whole
