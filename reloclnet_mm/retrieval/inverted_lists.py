"""Inverted files of faiss on disk: what is trained once, and the lists of each part of a corpus.

A folder holds ``search.json``; for each stream a file of what was trained, centroids and codebooks;
and for each part and stream the lists of its clips. A clip is stored with the id of its video, so
the lists stay right when other videos come and go. Files are never changed: ``search.json``, which
is replaced in one step, names those that count.
"""

import errno
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Lock

import msgspec
import numpy as np
from msgspec import Struct
from torch import Tensor

from reloclnet_mm.errors import InputError
from reloclnet_mm.utils.checksums import file_checksum
from reloclnet_mm.utils.fileio import replace_file, write_text

try:
    import faiss
except ImportError as e:
    raise InputError('a search by faiss needs it; run: pip install "reloclnet_mm[index]"') from e

_FORMAT, _VERSION = 'reloclnet_mm inverted lists', 1
_INDEX = 'search.json'
# Clips to train on for each list, and for the rotation before product codes.
CLIPS_A_LIST = 40
_CLIPS_TO_ROTATE = 2**15
# Iterations of k-means; with so many lists it divides clips into groups first.
_ITERATIONS, _LEAST_TO_DIVIDE = 10, 1024
# Neighbours in the graph of centroids, and how many of them are looked at for a clip or query.
_NEIGHBOURS, _LEAST_EFFORT = 32, 64
# Beyond so many stored clips a stream, and so in 24 GB, product codes replace 8-bit ones.
_MOST_IN_8_BITS = 25_000_000


class ListSettings(Struct, frozen=True):
    """How the clips of a stream are stored.

    Attributes:
        num_lists: Lists that clips are divided into.
        code: Code of a clip, as faiss names it: ``SQ8``, 8 bits a number, or such as ``PQ64``, 64
            bytes of product quantization after a rotation (OPQ).
        same: Neighbours with a cosine of this or more are stored once; above 1: never.
    """

    num_lists: int
    code: str = 'SQ8'
    same: float = 0.999

    @staticmethod
    def choose(num_clips: int, width: int) -> 'ListSettings':
        """Choose by the size of a corpus.

        Args:
            num_clips: Clips of a stream that are stored.
            width: Numbers of a clip.
        """
        # Four times the root is what faiss advises; a power of two.
        num_lists = 2 ** max(0, round(np.log2(4 * max(num_clips, 1) ** 0.5)))
        num_lists = max(1, min(num_lists, num_clips // CLIPS_A_LIST))
        large = num_clips > _MOST_IN_8_BITS and width % 6 == 0
        return ListSettings(num_lists, f'PQ{width // 6}' if large else 'SQ8')

    def factory(self, width: int) -> str:
        """Name the index as ``faiss.index_factory`` has it."""
        lists = f'IVF{self.num_lists}_HNSW{_NEIGHBOURS},{self.code}'
        bytes_of_code = self.code.removeprefix('PQ').split('x')[0]
        return f'OPQ{bytes_of_code}_{width},{lists}' if self.code.startswith('PQ') else lists


class ListFile(Struct, frozen=True):
    """A file of lists.

    Attributes:
        name: Its name.
        size: Bytes.
        sha256: Of its content.
        num_clips: Clips that it stores.
    """

    name: str
    size: int
    sha256: str
    num_clips: int


class Effort(Struct, frozen=True):
    """How much of a corpus is looked at for a query.

    Attributes:
        num_lists: Lists of each stream.
        num_candidates: Videos that are scored exactly, as a multiple of those that are asked for.
        num_videos: Length of the lists of videos that this is for; for shorter ones as much is
            looked at.
    """

    num_lists: int = 64
    num_candidates: float = 2.0
    num_videos: int = 100


class Tuned(Struct, frozen=True):
    """What effort was chosen by.

    Attributes:
        target_recall: Recall that was wanted.
        recall: That was found.
        num_queries: Queries that it was measured with.
        num_videos: Length of the lists.
    """

    target_recall: float
    recall: float
    num_queries: int
    num_videos: int


class ListsInfo(Struct, frozen=True):
    """What ``search.json`` says.

    Attributes:
        format: Name of the format.
        version: Its version.
        settings: How clips are stored.
        width: Numbers of a clip.
        trained: Stream to the file of what was trained.
        parts: Name of a part of the corpus to stream to its lists.
        effort: How much is looked at.
        tuned: What that was chosen by; None: it was not.
    """

    format: str
    version: int
    settings: ListSettings
    width: int
    trained: dict[str, ListFile]
    parts: dict[str, dict[str, ListFile]]
    effort: Effort = Effort()
    tuned: Tuned | None = None

    @property
    def files(self) -> Iterator[ListFile]:
        """All files that count."""
        yield from self.trained.values()
        for streams in self.parts.values():
            yield from streams.values()


class _Header(Struct):
    format: str = ''
    version: int = 0


class TrainedLists:
    """Centroids and codebooks of a stream, by which clips are put into lists and found.

    Args:
        index: An index of faiss with no clip in it.
    """

    def __init__(self, index: 'faiss.Index') -> None:
        self._index = index
        self._ivf = faiss.extract_index_ivf(index)
        self._graph = faiss.downcast_index(self._ivf.quantizer)
        # Assigning a clip to its nearest list is worth more time than the default takes.
        self._graph.hnsw.efSearch = _LEAST_EFFORT
        self._lock = Lock()

    @staticmethod
    def train(clips: np.ndarray, settings: ListSettings) -> 'TrainedLists':
        """Train on some clips.

        Args:
            clips: (T, d) float32, unit vectors, T ≥ ``settings.num_lists``.
            settings: How clips are stored.

        Raises:
            InputError: There are too few clips, or faiss knows no such code.
        """
        try:
            return TrainedLists._train(clips, settings)
        except RuntimeError as error:
            raise InputError(
                f'{settings}: cannot be trained on {len(clips)} clips of {clips.shape[1]} numbers '
                f'({_reason(error)}); use fewer lists, or the code SQ8'
            ) from error

    @staticmethod
    def _train(clips: np.ndarray, settings: ListSettings) -> 'TrainedLists':
        index = faiss.index_factory(
            clips.shape[1], settings.factory(clips.shape[1]), faiss.METRIC_INNER_PRODUCT
        )
        rotation = _rotation_of(index)
        if rotation is not None:
            rotation.train(clips[:_CLIPS_TO_ROTATE])
            clips = rotation.apply(clips)
        ivf = faiss.extract_index_ivf(index)
        ivf.quantizer.add(_centroids(clips, settings.num_lists))
        # Finds its centroids there, and trains the codes alone.
        ivf.train(clips)
        index.is_trained = True
        return TrainedLists(index)

    @staticmethod
    def read(path: Path) -> 'TrainedLists':
        """Read from a file.

        Raises:
            InputError: It cannot be read.
        """
        try:
            return TrainedLists(faiss.read_index(str(path)))
        except RuntimeError as error:
            raise damaged(path, f'what faiss cannot read ({_reason(error)})') from error

    def write(self, folder: Path, stream: str) -> ListFile:
        """Write to a new file in a folder.

        Raises:
            InputError: The folder cannot be written.
        """
        return _write(folder, f'trained-{stream}', 0, lambda x: faiss.write_index(self._index, x))

    def write_lists(
        self, folder: Path, name: str, clips: Iterable[tuple[Tensor, Tensor]]
    ) -> ListFile:
        """Put clips into lists and write these to a new file.

        Args:
            folder: Where.
            name: First part of the file's name.
            clips: Some at a time: unit vectors (T, d) float32, and the id (T,) int64 of the video
                of each.

        Raises:
            InputError: The folder cannot be written.
        """
        lists, count = faiss.ArrayInvertedLists(self._ivf.nlist, self._ivf.code_size), 0
        with self._lock:
            self._ivf.replace_invlists(lists, False)
            for rows, video_ids in clips:
                self._ivf.add_with_ids(self._rotated(rows.numpy()), video_ids.numpy())
                count += len(rows)
        return _write(
            folder,
            name,
            count,
            lambda path: faiss.write_InvertedLists(lists, faiss.FileIOWriter(path)),
        )

    def find(
        self, units: np.ndarray, num_clips: int, num_lists: int, lists: 'MappedLists'
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find clips that are similar to queries.

        Args:
            units: (Q, d) float32, unit vectors.
            num_clips: M, most clips.
            num_lists: Lists to look into.
            lists: Those of all parts.

        Returns:
            Similarities (Q, M), as the codes give them, and the video ids of the clips, −1 where
            there are no more.
        """
        units, num_lists = self._rotated(units), min(num_lists, self._ivf.nlist)
        effort = faiss.SearchParametersHNSW(efSearch=max(_LEAST_EFFORT, 2 * num_lists))
        similarity, chosen = self._graph.search(units, num_lists, params=effort)
        with self._lock:
            self._ivf.nprobe = num_lists
            self._ivf.replace_invlists(lists.joined, False)
            return self._ivf.search_preassigned(units, num_clips, chosen, similarity)

    def _rotated(self, clips: np.ndarray) -> np.ndarray:
        rotation = _rotation_of(self._index)
        return clips if rotation is None else rotation.apply(clips)


class MappedLists:
    """The lists of all parts of a corpus, mapped into memory, as if they were those of one.

    Args:
        paths: Files that :meth:`TrainedLists.write_lists` wrote, one or more.

    Raises:
        InputError: One cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        # The joined lists point to these.
        self._parts = [_map_lists(path) for path in paths]
        self._pointers = faiss.InvertedListsPtrVector()
        for part in self._parts:
            self._pointers.push_back(part)
        self.joined = self._parts[0]
        if len(paths) > 1:
            self.joined = faiss.HStackInvertedLists(len(paths), self._pointers.data())


def _map_lists(path: Path) -> 'faiss.InvertedLists':
    try:
        return faiss.read_InvertedLists(faiss.FileIOReader(str(path)), faiss.IO_FLAG_MMAP)
    except RuntimeError as error:
        raise damaged(path, f'what faiss cannot read ({_reason(error)})') from error


def begin_info(
    folder: Path, settings: ListSettings, width: int, trained: Mapping[str, TrainedLists]
) -> ListsInfo:
    """Write what was trained and describe lists without parts.

    Args:
        folder: Where.
        settings: How clips are stored.
        width: Numbers of a clip.
        trained: Of each stream.
    """
    files = {stream: x.write(folder, stream) for stream, x in trained.items()}
    return ListsInfo(_FORMAT, _VERSION, settings, width, files, {})


def read_info(folder: Path, *, verify: bool = False) -> ListsInfo:
    """Read ``search.json`` and look whether its files are there.

    Args:
        folder: Folder of the lists.
        verify: Whether to read all files and compare them with their checksums.

    Raises:
        InputError: There is none, or it is damaged, or one of its files is.
    """
    path = folder / _INDEX
    try:
        text = path.read_bytes()
        header = msgspec.json.decode(text, type=_Header)
        if (header.format, header.version) != (_FORMAT, _VERSION):
            raise damaged(path, f'format {header.format!r}, version {header.version}')
        info = msgspec.json.decode(text, type=ListsInfo)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise damaged(path, f'no description that can be read ({error})') from error
    for file in info.files:
        _check(folder, file, verify)
    return info


def text_of_info(folder: Path) -> bytes | None:
    """Return what ``search.json`` says, None: there is none that can be read."""
    try:
        return (folder / _INDEX).read_bytes()
    except OSError:
        return None


def write_info(folder: Path, info: ListsInfo) -> None:
    """Replace ``search.json`` and remove the files that it does not name.

    Raises:
        InputError: The folder cannot be written.
    """
    write_text(folder / _INDEX, msgspec.json.encode(info).decode() + '\n')
    used = {file.name for file in info.files}
    for path in folder.glob('*.faiss*'):
        if path.name not in used:
            path.unlink(missing_ok=True)


def damaged(path: Path, found: str) -> InputError:
    """Make the error of a file that cannot be used."""
    return InputError(
        f'{path}: found {found}, expected inverted lists of this package; remove the folder '
        f'{path.parent} and build the search again'
    )


def _check(folder: Path, file: ListFile, verify: bool) -> None:
    path = folder / file.name
    if path.name != file.name or not file.name.endswith('.faiss'):
        raise damaged(folder / _INDEX, f'the file name {file.name!r}')
    if not path.is_file():
        raise damaged(path, 'no such file')
    if path.stat().st_size != file.size:
        raise damaged(path, f'{path.stat().st_size:,} bytes in the place of {file.size:,}')
    if verify and file_checksum(path) != file.sha256:
        raise damaged(path, 'content that is not what was written')


def _write(folder: Path, name: str, count: int, write: Callable[[str], None]) -> ListFile:
    path = folder / f'{name}-{secrets.token_hex(4)}.faiss'
    with replace_file(path) as partial:
        try:
            write(str(partial))
        except RuntimeError as error:  # as faiss has it where it cannot write
            raise OSError(errno.EIO, _reason(error), str(partial)) from error
        size, checksum = partial.stat().st_size, file_checksum(partial)
    return ListFile(path.name, size, checksum, count)


def _centroids(clips: np.ndarray, count: int) -> np.ndarray:
    """Centroids (count, d), by k-means of k-means where there are many."""
    settings = dict(niter=_ITERATIONS, spherical=True, seed=1234, min_points_per_centroid=1)
    if count < _LEAST_TO_DIVIDE:
        kmeans = faiss.Kmeans(clips.shape[1], count, **settings)
        kmeans.train(clips)
        return kmeans.centroids
    groups = round(count**0.5)
    coarse = faiss.Kmeans(clips.shape[1], groups, **settings)
    coarse.train(clips)
    _, group = coarse.index.search(clips, 1)
    sizes = np.bincount(group[:, 0], minlength=groups)
    found = []
    for number, share in enumerate(_shares(sizes, count)):
        if share:
            kmeans = faiss.Kmeans(clips.shape[1], share, **settings)
            kmeans.train(clips[group[:, 0] == number])
            found.append(kmeans.centroids)
    return np.concatenate(found)


def _shares(sizes: np.ndarray, count: int) -> list[int]:
    """Divide ``count`` centroids among groups by their sizes, none more than it has clips."""
    ends = np.floor(np.cumsum(sizes) * (count / sizes.sum()) + 0.5).astype(int)
    return np.diff(ends, prepend=0).tolist()


def _rotation_of(index: 'faiss.Index') -> 'faiss.VectorTransform | None':
    if not isinstance(index, faiss.IndexPreTransform):
        return None
    return faiss.downcast_VectorTransform(index.chain.at(0))


def _reason(error: RuntimeError) -> str:
    """What faiss says, without the names of its functions and files."""
    return str(error).rsplit('Error: ', 1)[-1].strip()
