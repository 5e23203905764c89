"""Features of many videos, by the recipe that own videos are indexed with."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import torch

from reloclnet_mm.errors import InputError
from reloclnet_mm.extraction.recipe import FeatureRecipe, VideoFeatures
from reloclnet_mm.registry import EXTRACTORS


class Extracted(NamedTuple):
    """What became of a video.

    Attributes:
        name: Its name.
        features: Its features; None: it cannot be used.
        error: Why it cannot.
    """

    name: str
    features: VideoFeatures | None
    error: str


def name_videos(files: Sequence[tuple[Path, Path]]) -> dict[str, Path]:
    """Name videos as keys of feature files.

    Args:
        files: Files, and the folder that each was found in.

    Returns:
        File by name: the path below the folder without its ending, ``__`` for ``/``, which no key
        of an h5 file may have.

    Raises:
        InputError: Two files have the same name.
    """
    names: dict[str, Path] = {}
    for path, root in files:
        name = '__'.join(path.relative_to(root).with_suffix('').parts)
        if name in names:
            raise InputError(f'{path} and {names[name]}: both are named {name!r}; rename one')
        names[name] = path
    return names


def extract_videos(
    recipe: Mapping[str, Any], videos: Mapping[str, Path], devices: Sequence[str]
) -> Iterator[Extracted]:
    """Make the features of videos, in as many processes as there are devices.

    Args:
        recipe: Config of a :class:`~reloclnet_mm.extraction.FeatureRecipe`.
        videos: File by name.
        devices: Device of each process, such as ``cpu`` twice, or ``cuda:0`` and ``cuda:1``.

    Yields:
        Each video when it is done, in any order.
    """
    if len(devices) == 1:
        built = EXTRACTORS.build(dict(recipe, device=devices[0]))
        yield from (_extract(built, name, path) for name, path in videos.items())
        return
    context = get_context('spawn')
    devices_left = context.SimpleQueue()
    for device in devices:
        devices_left.put(device)
    threads = max(1, torch.get_num_threads() // len(devices))
    with ProcessPoolExecutor(
        len(devices), context, _begin, (dict(recipe), devices_left, threads)
    ) as pool:
        tasks = [pool.submit(_extract_here, name, path) for name, path in videos.items()]
        for task in as_completed(tasks):
            yield task.result()


class _Process:
    """What a process of the pool keeps."""

    recipe: FeatureRecipe


def _begin(recipe: dict[str, Any], devices_left: Any, threads: int) -> None:
    torch.set_num_threads(threads)
    _Process.recipe = EXTRACTORS.build(dict(recipe, device=devices_left.get()))


def _extract_here(name: str, path: Path) -> Extracted:
    return _extract(_Process.recipe, name, path)


def _extract(recipe: FeatureRecipe, name: str, path: Path) -> Extracted:
    try:
        return Extracted(name, recipe.extract(recipe.read(path)), '')
    except InputError as error:
        return Extracted(name, None, str(error))
