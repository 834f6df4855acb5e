"""One training a run folder: whoever writes it holds its lock, and the system lets go of it when the process ends.

So a kill leaves nothing to clean up, and a command that was started twice by mistake is told so instead of writing
between the lines of the first.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "lock"


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the run folder, which is made where it is not there.

    Raises:
        ValueError: another process holds it; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ValueError(
                f"{folder} is being trained by {file.read().strip() or 'another process'}; wait for it, stop it, or "
                "choose another folder"
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()} of {socket.gethostname()}\n")
        file.flush()
        yield
