"""Checkpoints put together opcode by opcode, such as no honest program writes."""

import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

HISTORY_BUFFER = b'cmmengine.logging.history_buffer\nHistoryBuffer\n'
GETATTR = b'c__builtin__\ngetattr\n'
NUMPY_DTYPE = b'cnumpy\ndtype\n'
NUMPY_SCALAR = b'cnumpy.core.multiarray\nscalar\n'
PLAIN_STATE = b'(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t'


def text(value: str) -> bytes:
    """The opcodes of a string."""
    return b'X' + len(value.encode()).to_bytes(4, 'little') + value.encode()


def raw_bytes(value: bytes) -> bytes:
    """The opcodes of bytes, as protocol 2 writes them."""
    return b'c_codecs\nencode\n' + text(value.decode('latin1')) + text('latin1') + b'\x86R'


def in_dict(value: bytes) -> bytes:
    """A whole pickle: {'model': value}."""
    return b'\x80\x02}' + text('model') + value + b's.'


def touch(sentinel: Path) -> bytes:
    """The opcodes of os.system(a command which makes the file `sentinel`)."""
    return b'cposix\nsystem\n' + text(f'touch {sentinel}') + b'\x85R'


def call(module: str, name: str, argument: str) -> bytes:
    """The opcodes of module.name(argument)."""
    return f'c{module}\n{name}\n'.encode() + text(argument) + b'\x85R'


def write_pickle(path: Path, content: bytes) -> None:
    """A checkpoint in torch's zip format around the pickle `content`."""
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        archive.writestr('archive/data.pkl', content)
        archive.writestr('archive/version', '3\n')


def edit_pickle(path: Path, edit: Callable[[bytes], bytes]) -> None:
    """Apply `edit` to the pickle in the checkpoint `path`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, edit(data) if name.endswith('data.pkl') else data)


class Touch:
    """Pickles as the call os.system('touch sentinel')."""

    def __init__(self, sentinel: Path):
        self.sentinel = sentinel

    def __reduce__(self):
        return os.system, (f'touch {self.sentinel}',)


def _getattr_chain(sentinel: Path) -> bytes:
    """HistoryBuffer.mean.__globals__['__builtins__']['eval'](…), by getattr and dict.get alone."""

    def attribute(owner: bytes, name: str) -> bytes:
        return GETATTR + owner + text(name) + b'\x86R'

    def item(owner: bytes, name: str) -> bytes:
        return attribute(owner, 'get') + text(name) + b'\x85R'

    names = attribute(attribute(HISTORY_BUFFER, 'mean'), '__globals__')
    command = f'__import__("pathlib").Path({str(sentinel)!r}).touch()'
    return in_dict(item(item(names, '__builtins__'), 'eval') + text(command) + b'\x85R')


def _nested_pickle(sentinel: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Touch(sentinel), buffer)
    nested = raw_bytes(buffer.getvalue())
    return in_dict(b'ctorch.storage\n_load_from_bytes\n' + nested + b'\x85R')


def _poisoned_statistics(sentinel: Path) -> bytes:
    statistics = b'}' + text('statistics_methods') + b'}' + text('mean') + touch(sentinel) + b'ss'
    return in_dict(HISTORY_BUFFER + b')\x81' + statistics + b'b')


def _attribute_of_a_module(sentinel: Path) -> bytes:
    """operator.attrgetter('system')(importlib.import_module('os'))(…)."""
    system = b'coperator\nattrgetter\n' + text('system') + b'\x85R'
    module = call('importlib', 'import_module', 'os')
    return in_dict(system + module + b'\x85R' + text(f'touch {sentinel}') + b'\x85R')


def _whole_module(sentinel: Path) -> bytes:
    """A torch.nn.Module, as torch.save(model) writes it, whose state has a payload."""
    state = b'}' + text('training') + touch(sentinel) + b's'
    return in_dict(b'ctorch.nn.modules.linear\nIdentity\n)\x81' + state + b'b')


def _tensor_of_a_foreign_class(sentinel: Path) -> bytes:
    """torch's own rebuild of a tensor subclass, with a payload among its arguments."""
    return in_dict(b'ctorch._tensor\n_rebuild_from_type_v2\n(' + touch(sentinel) + b'NN}tR')


def live_pickles(sentinel: Path) -> dict[str, bytes]:
    """Pickles by kind; to read one in full makes the file `sentinel`."""
    code = f'__import__("pathlib").Path({str(sentinel)!r}).touch()'
    command = f'touch {sentinel}'.encode()
    payload = touch(sentinel)
    state = b'}' + text('drop') + payload + b's'
    return {
        'reduce os.system': in_dict(payload),
        'builtins.eval': in_dict(call('__builtin__', 'eval', code)),
        'builtins.exec': in_dict(call('builtins', 'exec', code)),
        'getattr chain': _getattr_chain(sentinel),
        'EasyDict with a payload as item': in_dict(
            b'ceasydict\nEasyDict\n)\x81' + text('drop') + payload + b's'
        ),
        'EasyDict with a payload in its state': in_dict(
            b'ceasydict\nEasyDict\n)\x81' + state + b'b'
        ),
        'Namespace with a payload in its state': in_dict(
            b'cargparse\nNamespace\n)\x81' + state + b'b'
        ),
        'pickle within a pickle': _nested_pickle(sentinel),
        'HistoryBuffer with foreign statistics': _poisoned_statistics(sentinel),
        'numpy scalar of an object': in_dict(
            NUMPY_SCALAR + NUMPY_DTYPE + text('O8') + b'\x89\x88\x87R' + payload + b'\x86R'
        ),
        'attribute of an imported module': _attribute_of_a_module(sentinel),
        'whole module with a payload in its state': _whole_module(sentinel),
        'tensor rebuild with a payload': _tensor_of_a_foreign_class(sentinel),
        'functools.partial': in_dict(
            b'cfunctools\npartial\ncposix\nsystem\n\x85R' + text(f'touch {sentinel}') + b'\x85R'
        ),
        'instance opcode of protocol 0': b"(S'" + command + b"'\niposix\nsystem\n.",
        'object opcode of protocol 1': b"(cposix\nsystem\nS'" + command + b"'\no.",
        'protocol 4': b'\x80\x04\x8c\x05posix\x8c\x06system\x93'
        + text(f'touch {sentinel}')
        + b'\x85R.',
    }


def inert_pickles() -> dict[str, tuple[bytes, str]]:
    """By kind: a pickle that is refused although nothing would run, and the finding."""

    def dtype(code: str, state: bytes) -> bytes:
        return NUMPY_DTYPE + text(code) + b'\x89\x88\x87R' + state + b'b'

    subarray = PLAIN_STATE.replace(b'NNN', b'(' + dtype('f8', PLAIN_STATE) + b'(M\xe8\x03ttNN')
    init = HISTORY_BUFFER + text('__init__') + b'\x86'
    object_type = NUMPY_DTYPE + text('O8') + b'\x89\x88\x87R'
    reconstruct = b'cnumpy.core.multiarray\n_reconstruct\n'
    empty = b'K\x00\x85' + raw_bytes(b'b') + b'\x87R'
    pickles = {
        'getattr on a method that is no statistic': (GETATTR + init + b'R', "of '__init__'"),
        'getattr on another object': (
            GETATTR + text('a') + text('mean') + b'\x86R',
            "of 'mean'",
        ),
        'getattr behind a tensor rebuild': (
            b'ctorch._tensor\n_rebuild_from_type_v2\n(' + GETATTR + HISTORY_BUFFER + init + b'}tR',
            "of '__init__'",
        ),
        'numpy scalar of nested pickle bytes': (
            NUMPY_SCALAR + object_type + raw_bytes(pickle.dumps('nested')) + b'\x86R',
            "dtype 'O8'",
        ),
        'numpy scalar with too few bytes': (
            NUMPY_SCALAR + dtype('f8', PLAIN_STATE) + raw_bytes(b'abc') + b'\x86R',
            '3 bytes for 1 elements of float64',
        ),
        'numpy dtype of records': (dtype('V8', PLAIN_STATE), "dtype 'V8'"),
        'numpy dtype that claims a sub-array': (dtype('f8', subarray), 'not plain'),
        'numpy subclass': (reconstruct + HISTORY_BUFFER + empty, 'only plain arrays'),
        'extension code': (b'\x82\x01', 'Unsupported operand 130'),
        'storage of a foreign class': (
            b'(' + text('storage') + b'cposix\nsystem\n' + text('0') + text('cpu') + b'K\x01tQ',
            'posix.system',
        ),
        'decoding by a codec that is not text': (
            b'c_codecs\nencode\n' + text('a') + text('zlib_codec') + b'\x86R',
            'zlib_codec',
        ),
        'array that was never filled': (reconstruct + b'cnumpy\nndarray\n' + empty, 'without data'),
        'HistoryBuffer with foreign attributes': (
            HISTORY_BUFFER + b')\x81}' + text('update') + GETATTR + b'sb',
            "['update']",
        ),
    }
    return {kind: (in_dict(content), finding) for kind, (content, finding) in pickles.items()}


def write_legacy(path: Path, sentinel: Path) -> None:
    """The format before torch 1.6 with a payload."""
    torch.save({'model': Touch(sentinel)}, path, _use_new_zipfile_serialization=False)


def write_legacy_header(path: Path, sentinel: Path) -> None:
    """The same format with the payload before the content, where torch expects its settings."""
    magic, protocol = 0x1950A86A20F9469CFC6C, 1001
    parts = [magic, protocol, Touch(sentinel), {'model': {}}, []]
    path.write_bytes(b''.join(pickle.dumps(part, 2) for part in parts))


def write_legacy_keys(path: Path, sentinel: Path) -> None:
    """The same format with the payload behind the content, where the storages are named."""
    magic, protocol, settings = 0x1950A86A20F9469CFC6C, 1001, {'little_endian': True}
    parts = [magic, protocol, settings, {'model': {}}, Touch(sentinel)]
    path.write_bytes(b''.join(pickle.dumps(part, 2) for part in parts))


def write_bare_pickle(path: Path, sentinel: Path) -> None:
    """A pickle by itself, as pickle.dump writes it."""
    path.write_bytes(pickle.dumps({'model': Touch(sentinel)}))


def write_array(path: Path, sentinel: Path) -> None:
    """A .npy file of pickled objects."""
    with path.open('wb') as file:
        np.save(file, np.array([Touch(sentinel)], object), allow_pickle=True)


def write_tar(path: Path, sentinel: Path) -> None:
    """The tar format of the first torch versions with a payload in its first member."""
    data = pickle.dumps(Touch(sentinel), 2)
    with tarfile.open(path, 'w') as archive:
        member = tarfile.TarInfo('storages')
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))


def write_nested_zip(path: Path, sentinel: Path) -> None:
    """A zip whose pickle is a whole checkpoint with a payload."""
    buffer = io.BytesIO()
    torch.save({'model': Touch(sentinel)}, buffer)
    write_pickle(path, buffer.getvalue())


def write_torchscript(path: Path, sentinel: Path) -> None:
    """A TorchScript archive."""
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(path))
