"""Lists of what is guarded by which tests, held to the tests that there are."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parents[1]
Guards = dict[str, tuple[tuple[str, str], ...]]
"""What is guarded -> (file, test) pairs."""


@cache
def named_in(file: str) -> frozenset[str]:
    """The names of the tests of a file under tests/; none where there is no such file."""
    path = TESTS / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text())
    return frozenset(n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name[:5] == "test_")  # fmt: skip


def missing(guards: Guards) -> Iterator[str]:
    """What is said to be guarded by a test that is not there, or by none."""
    for what, tests in guards.items():
        if not tests:
            yield f"{what}: no test"
        for file, name in tests:
            if name not in named_in(file):
                yield f"{what}: {file} has no {name}"
