"""Experts by name: a literal dict, imported on use, plus the entry-point group `maskmix.experts`."""

import difflib
import hashlib
import importlib
import inspect
import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

EXPERTS: dict[str, str] = {
    "chat": "annotators.chat.chat:ChatExpert",
    "clip_regions": "annotators.sam.clip_regions:ClipRegions",
    "clipseg": "annotators.models.clipseg:ClipSegExpert",
    "colour": "annotators.classical.colour:ColourExpert",
    "fake_faulty": "annotators.fakes.faulty:FaultyTextSegmenter",
    "fake_grounder": "annotators.fakes.plain:FakeGrounder",
    "fake_payer": "annotators.fakes.paying:PayingTextSegmenter",
    "fake_rewriter": "annotators.fakes.plain:FakeRewriter",
    "fake_segmenter": "annotators.fakes.plain:FakeSegmenter",
    "fake_text_segmenter": "annotators.fakes.plain:FakeTextSegmenter",
    "florence2": "annotators.models.florence2:Florence2Expert",
    "grabcut": "annotators.classical.grabcut:GrabCutExpert",
    "grounding_dino": "annotators.models.grounding_dino:GroundingDinoExpert",
    "local": "annotators.chat.local:LocalExpert",
    "open_vocab": "annotators.models.open_vocab:OpenVocabExpert",
    "owlv2": "annotators.models.owlv2:Owlv2Expert",
    "place": "annotators.classical.place:PlaceExpert",
    "regions": "annotators.classical.regions:RegionsExpert",
    "rules": "annotators.language.rewriter_rules:RulesRewriter",
    "saliency": "annotators.classical.saliency:SaliencyExpert",
    "sam": "annotators.sam.sam:SamExpert",
    "sam3": "annotators.sam.sam3_concepts:Sam3Concepts",
    "sam_hf": "annotators.sam.hf_sam:HFSamSegmenter",
    "size": "annotators.classical.size:SizeExpert",
    "vlm_box": "annotators.chat.vlm_box:VlmBoxExpert",
    "vlm_verifier": "annotators.chat.verifier:VlmVerifier",
}
"""Built-in experts: name -> "module:Class"."""

GROUP = "maskmix.experts"

ROLES: dict[str, str] = {
    "enricher": "enrich",
    "rewriter": "rewrite",
    "grounder": "ground",
    "segmenter": "segment",
    "text segmenter": "segment_text",
    "verifier": "verify",
}
"""Role -> the method that makes an expert one; see annotators.protocols."""


def known_experts() -> list[str]:
    """Names that `make_expert` accepts: built-in ones and those of installed packages."""
    return sorted({*EXPERTS, *(point.name for point in entry_points(group=GROUP))})


def make_expert(name: str, options: Mapping[str, Any]) -> Any:
    """Import the expert called `name` and construct it with `options` as keyword arguments.

    Raises:
        ValueError: the name or an option is unknown (the message lists what is known), or an option is missing.
    """
    cls = _find(name)
    signature = inspect.signature(cls)
    for option in options:
        if option not in signature.parameters:
            raise ValueError(unknown(f"option of expert {name!r}", option, [*signature.parameters]))
    try:
        signature.bind(**options)
    except TypeError as error:
        raise ValueError(f"expert {name!r}: {error}; give it under options") from None
    return cls(**options)


def takes(name: str, option: str) -> bool:
    """Whether the expert called `name` has an option called `option`."""
    return option in inspect.signature(_find(name)).parameters


def describe_experts() -> list[dict[str, str]]:
    """Name, roles and first docstring line of every known expert, for people to choose from."""
    rows: list[dict[str, str]] = []
    for name in known_experts():
        cls = _find(name)
        roles = [role for role, method in ROLES.items() if hasattr(cls, method)]
        about = (inspect.getdoc(cls) or "").partition("\n")[0]
        rows.append({"name": name, "roles": ", ".join(roles), "about": about})
    return rows


UNHASHED = frozenset({"batch_size", "concurrency", "device", "revision", "timeout"})
"""Options that say where, how fast or from which stored copy; provenance names the revision by itself."""


def config_hash(name: str, options: Mapping[str, Any]) -> str:
    """Twelve hex digits that name an expert with its options in provenance."""
    kept = {key: value for key, value in options.items() if key not in UNHASHED}
    text = json.dumps([name, kept], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def unknown(what: str, got: str, known: list[str]) -> str:
    """The one wording of "unknown name" errors, with the nearest known name."""
    near = difflib.get_close_matches(got, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown {what}: {got!r}{hint} Known: {', '.join(known) or 'none'}"


def _find(name: str) -> Any:
    if name in EXPERTS:
        module, _, attribute = EXPERTS[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load()
    raise ValueError(unknown("expert", name, known_experts()))
