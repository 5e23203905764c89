"""A file backend whose files are whole at any moment, whatever interrupts the writing."""

import os
import secrets
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

PARTIAL_PATTERN = '.*.partial'


@register_backend('atomic_local', force=True)
class AtomicLocalBackend(LocalBackend):
    """Writes local files as mmengine's local backend does, with atomic ``put`` and ``put_text``.

    The data goes to a temporary file ``.NAME.*.partial`` in the same folder, is
    flushed to the disk, and then takes the place of the file in one step: a
    reader, or the next run after a kill, meets the old file or the new one.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write the bytes ``obj`` to ``filepath``, whose folder is made if absent."""
        # A link keeps pointing to its file, whose content is replaced.
        target = Path(os.path.realpath(filepath))
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f'.{target.name}.{secrets.token_hex(4)}.partial')
        try:
            with open(partial, 'xb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write the text ``obj`` to ``filepath``, whose folder is made if absent."""
        self.put(obj.encode(encoding), filepath)
