"""Stopping when asked: SIGTERM or SIGINT let the step end, a checkpoint is written, and `Interrupted` ends the run.

A handler only takes a note; the loop looks at it once a step. A second SIGINT is a person who will not wait and raises
KeyboardInterrupt at once; a second SIGTERM is a launcher passing the first one on, and changes nothing. Python lets
only the main thread have handlers: processes whose training runs in another one (Ray's) are asked by a file instead.
"""

import signal
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any


class Interrupted(Exception):
    """A run stopped on a signal with its state saved; the same command goes on with it."""

    def __init__(self, signum: int, step: int) -> None:
        super().__init__(signum, step)
        self.signum = signum
        self.step = step

    def __str__(self) -> str:
        name = signal.Signals(self.signum).name
        return f"{name} after step {self.step}; the state is saved, the same command goes on"

    @property
    def exit_code(self) -> int:
        """What shells and schedulers expect of a process that ended on this signal: 143 or 130."""
        return 128 + self.signum


class Stop:
    """A context in which signals are noted instead of obeyed, when it is entered in the main thread.

    Args:
        file: looked at too: whoever writes a signal's number there asks the same.
        tell: where a signal is passed on to, as such a file of other processes.
    """

    def __init__(self, *, file: Path | None = None, tell: Path | None = None) -> None:
        self._file = file
        self._tell = tell
        self._noted = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGTERM, signal.SIGINT):
                self._before[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def asked(self) -> int:
        """The signal's number, or 0 when nobody has asked."""
        if not self._noted and self._file is not None and self._file.exists():
            text = self._file.read_text().strip()
            self._noted = int(text) if text.isdigit() else int(signal.SIGTERM)
        return self._noted

    def _note(self, signum: int, frame: FrameType | None) -> None:
        if self._noted and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self._noted = self._noted or signum
        if self._tell is not None:
            self._tell.write_text(str(signum))
