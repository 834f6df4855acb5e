"""One writer a folder: whoever writes it holds its lock, and the system lets go of that when the process ends.

So a kill leaves nothing to clean up, and a command that was started twice by mistake is told so instead of writing
between the lines of the first. Across machines it holds where the file system that they share has `flock`.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = ".lock"
"""An empty file in the folder; left behind it means nothing."""


@contextmanager
def held(folder: Path, *, what: str) -> Iterator[None]:
    """Hold `folder`, which is there; `what` the other process would be doing, e.g. "being built".

    Raises:
        ValueError: another process holds it.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder} is {what} by another process; wait for it, stop it, or choose another folder"
            ) from None
        yield
    finally:
        os.close(handle)
