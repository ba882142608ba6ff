"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from honeyguard.errors import OutputError


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A file to write; it takes `path`'s place when the block ends well, and nothing of it stays otherwise.

    Raises: OutputError: no file can be written there.
    """
    partial = path.with_name(f".{os.getpid()}.{path.name}")  # keeps the suffix, by which some writers choose the format
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise OutputError("a file that can be written", f"{path} ({error.strerror})", "Choose another place.") from None
    finally:
        partial.unlink(missing_ok=True)
