"""All that is said of a photograph as one text, for what learns which text belongs to which photograph.

An instruction such as "the road" is true of most streets, so that no contrast can be learnt from it; the instructions
of a photograph together say what is in it, as a caption would.
"""

from dataclasses import replace
from itertools import islice
from typing import Any, cast

from trainer.data.protocol import Store
from trainer.data.texts import CHUNK, Phrasings


def captioned(store: Store) -> Store:
    """`store` with one text for all samples of a photograph: their instructions, each once, with commas between.

    Enriched phrasings are left out of it. A photograph with one sample keeps its phrasings.
    """
    said: dict[str, dict[str, None]] = {}
    samples: dict[str, int] = {}
    for sha, phrasings in zip(store.shas, store.instructions, strict=True):
        said.setdefault(sha, {})[phrasings[0]] = None
        samples[sha] = samples.get(sha, 0) + 1
    captions = (
        (", ".join(said[sha]),) if samples[sha] > 1 else phrasings
        for sha, phrasings in zip(store.shas, store.instructions, strict=True)
    )
    parts = iter(lambda: list(islice(captions, CHUNK)), [])
    return cast(Store, replace(cast(Any, store), instructions=Phrasings(parts)))
