"""Is every expert of a recipe ready? Weights, licence, device and one forward pass, before a cluster is paid for."""

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from annotators.identity import Identity, identity_of
from annotators.models.weights import present
from annotators.registry import make_expert
from annotators.trial import try_expert
from pipeline.config import ExpertUse, StagesConfig

OK, MISSING = "ok", "missing"
WEIGHTS = ("model", "sam")
"""Options that name weights, of an expert and of the one it asks (`of_options`); see CONTRIBUTING.md."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What was found out about one expert; `trouble` is empty when it is ready, else says what to do."""

    stage: str
    identity: Identity
    weights: str
    device: str
    seconds: float | None
    trouble: str


def uses_of(stages: StagesConfig) -> Iterator[tuple[str, ExpertUse]]:
    """Every expert of a recipe with the stage that asks it, in the order of the line."""
    for name in ("rewrite", "enrich", "ground", "segment", "join"):
        part = getattr(stages, name)
        yield from ((name, use) for use in (part.experts if part else ()))
    yield from (("choose", use) for use in (stages.choose.judges if stages.choose else ()))
    yield from (("score", use) for use in (stages.score.verifiers if stages.score else ()))


def examine(uses: Sequence[tuple[str, ExpertUse]], *, forward: bool = True) -> Iterator[Finding]:
    """Look at experts one after another. `forward`: also ask each about one small picture.

    An expert that is not ready is a finding, never an exception.
    """
    for stage, use in uses:
        yield _examine(stage, use, forward)


def _examine(stage: str, use: ExpertUse, forward: bool) -> Finding:
    asked = (use.options, use.options.get("of_options") or {})
    models = [str(options[key]) for options in asked for key in WEIGHTS if key in options]
    identity = Identity(expert=use.use, model="+".join(models))
    weights, device, seconds, trouble = "none needed", "", None, ""
    try:
        expert = make_expert(use.use, use.options)
        if models:
            there = [present(model, use.options.get("revision")) for model in models]
            weights = OK if all(there) else MISSING
        identity = identity_of(expert, use.options)
        if "device" in use.options or models:
            device = _device(str(use.options.get("device", "auto")))
        if forward:
            start = time.perf_counter()
            _ask(expert)
            seconds = time.perf_counter() - start
    except Exception as error:  # whatever keeps an expert from working is what is being looked for
        trouble = (
            f"{type(error).__name__}: {error}" if not isinstance(error, ValueError) else str(error)
        )
    return Finding(
        stage=stage,
        identity=identity,
        weights=weights,
        device=device,
        seconds=seconds,
        trouble=trouble,
    )


def _ask(expert: Any) -> None:
    picture = np.full((96, 128, 3), 150, np.uint8)
    picture[30:70, 40:90] = (200, 30, 30)
    try_expert(expert, image=picture, text="the red box", boxes=[(40.0, 30.0, 90.0, 70.0)])


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed"
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu x {os.cpu_count()}"
