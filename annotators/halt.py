"""The one exception that stops a build instead of costing a vote: going on would waste money or lose votes wholesale.

Whoever catches errors of experts lets a `Halt` through. A build that halts has lost nothing: what is committed stays,
and the same command resumes.
"""


class Halt(Exception):
    """The build must stop cleanly now. The message says why, and what makes the same command go on."""
