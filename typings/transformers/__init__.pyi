"""For the type checker only: transformers re-exports everything from everywhere, and its Auto classes return what no
checker can know. Reading it all took 40 % of the checking time.
"""

from typing import Any

def __getattr__(name: str) -> Any: ...
