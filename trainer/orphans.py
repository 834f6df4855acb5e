"""Processes that a training starts end with it, also when it is killed.

A worker that waits for work does not notice by itself that nobody will send any: torch's loader workers look whether
their parent has changed since they began, and one whose parent was killed while it was starting never sees a change;
a process of a pool does not look at all.
"""

import multiprocessing
import os
import threading


def leave_with_parent() -> None:
    """Have this process, which multiprocessing started, end at once when the one that started it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a process of multiprocessing"

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True, name="leave-with-parent").start()
