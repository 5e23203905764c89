"""A file backend whose files are whole at any moment, whatever interrupts the writing."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from reloclnet_mm.utils.fileio import replace_file

PARTIAL_PATTERN = '.*.partial'


@register_backend('atomic_local', force=True)
class AtomicLocalBackend(LocalBackend):
    """Writes local files as mmengine's local backend does, each in one step."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write the bytes ``obj`` to ``filepath``, whose folder is made if absent."""
        with replace_file(filepath) as temporary:
            temporary.write_bytes(obj)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write the text ``obj`` to ``filepath``, whose folder is made if absent."""
        self.put(obj.encode(encoding), filepath)
