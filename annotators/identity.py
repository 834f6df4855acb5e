"""Which expert is at work: the facts that decide its answers, known without loading its weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from annotators.registry import config_hash


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Name, model and settings of an expert; the same identity gives the same answers.

    `model` is a hub id or path as the recipe gives it, or what an endpoint calls its model; `revision` the commit of
    the hub or `sha256:...` of local files; `licence` that of the weights, as their card says, "unknown" when it does
    not. An expert without weights leaves all three empty.
    """

    expert: str
    model: str = ""
    revision: str = ""
    prompt_version: str = ""
    licence: str = ""
    config_hash: str = ""


def identity_of(expert: Any, options: Mapping[str, Any]) -> Identity:
    """What `expert` says of itself in `identity`; its name and the hash of its options when it says nothing.

    Raises:
        ValueError: its weights are not to be had (the message names the command that gets them).
    """
    said: Identity | None = getattr(expert, "identity", None)
    if said is not None:
        return said
    own: str | None = getattr(expert, "config_hash", None)
    return Identity(expert=expert.name, config_hash=own or config_hash(expert.name, options))
