"""Checkpoints are read with weights only, also by mmengine's Runner.

mmengine 0.10 leaves the choice to torch: since torch 2.6 the checkpoints of its own
Runner are refused (a HistoryBuffer, NumPy values), while files behind a URL are
unpickled in full, which runs whatever code they carry. :func:`install` puts the
loaders of this module in the place of both.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, get_local_rank
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader
from torch.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    safe_globals,
)
from torch.sparse import check_sparse_tensor_invariants

from reloclnet_mm.engine.checkpointing.model_zoos import ZOO_SCHEMES, address_in_zoo, backbone_of
from reloclnet_mm.engine.checkpointing.safe_globals import ALLOWED_GLOBALS, resolve
from reloclnet_mm.errors import InputError

REFUSED_SCHEMES = ('pavi://', r'(\S+\:)?s3://', r'(\S+\:)?petrel://')
"""As mmengine writes them, regular expressions among them."""

_SAFE_GLOBALS_LOCK = threading.RLock()
_ASKED_GLOBAL = re.compile(r'GLOBAL (\S+) (?:was not an allowed|whose module)')


def install() -> None:
    """Make mmengine read checkpoints from everywhere with weights only; may be called again."""
    loaders: dict[Callable, str | tuple[str, ...]] = {
        load_from_local: '',
        load_from_http: ('http://', 'https://'),
        load_from_zoo: ZOO_SCHEMES,
        load_from_nowhere: REFUSED_SCHEMES,
    }
    for loader, prefixes in loaders.items():
        CheckpointLoader.register_scheme(prefixes=prefixes, loader=loader, force=True)


def load_from_nowhere(filename: str, map_location: Any = None) -> NoReturn:
    """Load nothing: mmengine's loaders of these stores unpickle what they get.

    Raises:
        InputError: Always.
    """
    raise InputError(
        f'{filename}: checkpoints from this store would be unpickled, which runs whatever code '
        'they carry; download the file and give its path, or give its https address'
    )


def load_from_zoo(filename: str, map_location: Any = None) -> Any:
    """Read published weights by their name, such as ``torchvision://resnet50``."""
    checkpoint = load_from_http(address_in_zoo(filename), map_location)
    return backbone_of(checkpoint) if filename.startswith('mmcls://') else checkpoint


def load_from_local(filename: str, map_location: Any = None) -> Any:
    """Read a local checkpoint for mmengine (which prints the end of these functions' names)."""
    return _without_config_source(load_weights_only(filename, map_location), filename)


def load_from_http(filename: str, map_location: Any = None) -> Any:
    """Read a checkpoint behind a URL, downloaded once a machine to torch's hub folder."""
    folder = os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, os.path.basename(urlparse(filename).path))
    if get_local_rank() == 0 and not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        try:
            torch.hub.download_url_to_file(filename, path, progress=False)
        except OSError as error:
            raise InputError(
                f'{filename}: cannot be downloaded ({error}); check the address, or download it by '
                'other means and give the local file'
            ) from error
    barrier()
    return load_from_local(path, map_location)


def load_weights_only(
    path: str | os.PathLike,
    map_location: Any = None,
    extra_globals: Sequence[tuple[Callable, str]] = (),
) -> Any:
    """Read a checkpoint without running anything that it carries.

    Args:
        path: A file written by ``torch.save``.
        map_location: As for ``torch.load``.
        extra_globals: More (stand-in, full name in the file) pairs to allow beside
            ``ALLOWED_GLOBALS``.

    Raises:
        InputError: The file is absent, damaged, or asks for something that is not allowed.
    """
    path = os.path.expanduser(path)
    if not os.path.isfile(path):
        raise InputError(f'{path}: there is no such checkpoint file; check the path')
    try:
        with _allowing([*ALLOWED_GLOBALS, *extra_globals]), check_sparse_tensor_invariants(True):
            return resolve(torch.load(path, map_location=map_location, weights_only=True))
    except Exception as error:  # a damaged pickle can raise anything
        raise InputError(f'{path}: {_explain(error)}') from error


@contextmanager
def _allowing(allowed: list[tuple[Callable, str]]) -> Iterator[None]:
    """Allow these names for the time of the context, in preference to the process's own."""
    names = {name for _, name in allowed}
    # torch's list belongs to the process: two loads at once would undo each other's entries.
    with _SAFE_GLOBALS_LOCK:
        before = get_safe_globals()
        clear_safe_globals()
        try:
            with safe_globals([e for e in before if _full_name(e) not in names] + allowed):
                yield
        finally:
            add_safe_globals(before)


def _full_name(entry: Callable | tuple[Callable, str]) -> str:
    return entry[1] if isinstance(entry, tuple) else f'{entry.__module__}.{entry.__qualname__}'


def _explain(error: Exception) -> str:
    message = str(error)
    asked = _ASKED_GLOBAL.search(message)
    if 'map_location' in message:
        return "its tensors belong to a device that is absent here; load with map_location='cpu'"
    if asked:
        finding = f'it asks for `{asked[1]}`, which is not plain data and could run code'
    elif 'TorchScript' in message:
        finding = 'it is a TorchScript archive, which carries code'
    elif 'legacy .tar' in message:
        finding = 'it is in the tar format of the first PyTorch versions, which is not plain data'
    elif isinstance(error, InputError):
        finding = message
    else:
        return (
            f'it cannot be read as a checkpoint ({type(error).__name__}: {_finding(message)}); it '
            'is cut off, damaged, or not written by torch.save: get it anew or use another one'
        )
    return (
        f'refused: {finding}. Have its author save the weights alone, as '
        "torch.save({'state_dict': model.state_dict()}, path)"
    )


def _finding(message: str) -> str:
    # torch's messages go on to advise `weights_only=False`: only what it found is kept.
    found = message.partition('WeightsUnpickler error:')[2].strip() or message.strip()
    return found.partition('\n')[0][:200]


def _without_config_source(checkpoint: Any, filename: str) -> Any:
    """Drop ``meta.config``: on resuming, mmengine runs that text as Python."""
    # An OrderedDict from a file may carry an attribute named `get`.
    meta = dict.get(checkpoint, 'meta') if isinstance(checkpoint, dict) else None
    if isinstance(meta, dict) and 'config' in meta:
        del meta['config']
        print_log(
            f'{filename}: its `meta.config` is left out, because resuming would run it as code',
            logger='current',
            level=logging.WARNING,
        )
    return checkpoint
