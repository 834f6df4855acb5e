"""What was answered so far: a file of JSON lines that only grows, so that a run that was cut goes on where it stood."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Entry = dict[str, Any]


class Journal:
    """Entries by their "key"; each is on disk when `add` returns.

    A line that a kill cut off was never handed to anybody, and is cut away when the file is opened again.

    Raises:
        ValueError: a line before the last is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: dict[str, Entry] = {}
        data = path.read_bytes() if path.exists() else b""
        whole = data.rpartition(b"\n")[0] + b"\n" if b"\n" in data else b""
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                self.entries[entry["key"]] = entry
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{path} line {number} is damaged; move the file away to ask everything again (answers that were "
                    "paid for are in the reply cache)"
                ) from None
        if len(whole) < len(data):
            with path.open("r+b") as file:
                file.truncate(len(whole))

    def add(self, entries: Iterable[Entry]) -> None:
        """Append entries and wait until they are on disk."""
        new = list(entries)
        if not new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            for entry in new:
                file.write(json.dumps(entry).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.entries |= {entry["key"]: entry for entry in new}
