"""Recipes: YAML validated by pydantic, strict, with "did you mean" for unknown keys.

A recipe says everything that decides the bytes of a dataset; where it runs and where it goes are not part of it.
`recipe_hash` names the resolved recipe, and an output folder belongs to one hash for ever.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from annotators.registry import unknown


class Strict(BaseModel):
    """Base of all recipe parts: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Resources(Strict):
    """What each replica of an expert's pool asks of a Ray cluster; an expert without it runs inside the workers.

    Where an expert runs decides no byte, so this is not part of the resolved recipe or its hash.
    """

    replicas: int = Field(1, ge=1)
    gpus: float = Field(0.0, ge=0)
    """Share of a GPU, e.g. 0.25: four replicas share one."""
    cpus: float = Field(1.0, ge=0)
    memory_gib: float = Field(0.0, ge=0)
    timeout: float = Field(1800.0, gt=0)
    """Seconds that one call, loading weights included, may take; a row that takes longer loses its vote."""


class ExpertUse(Strict):
    """One expert of a panel: `use` is its registered name, `options` its keyword arguments."""

    use: str
    options: dict[str, Any] = Field(default_factory=dict)
    resources: Resources | None = Field(None, exclude=True)


class BudgetConfig(Strict):
    """What all runs of one build together may spend on chat calls; a build that reaches it stops and can resume.

    Not part of the resolved recipe or its hash: a raised budget goes on with the same build.
    """

    calls: int | None = Field(default=None, ge=0)
    tokens: int | None = Field(default=None, ge=0)
    money: float | None = Field(default=None, ge=0)
    prompt_price: float = Field(default=0.0, ge=0)
    """Money per million prompt tokens, in the currency of `money`."""
    completion_price: float = Field(default=0.0, ge=0)


class RewriteConfig(Strict):
    """Instructions -> phrases: the first expert that does not abstain is heard."""

    experts: list[ExpertUse]
    keep_raw: bool = False
    """Add the instruction itself as a phrase of role "raw"."""


class EnrichConfig(Strict):
    """The labelled path: known targets -> instructions that a person might give, as phrases of role "enriched"."""

    experts: list[ExpertUse]
    keep_raw: bool = True
    """Also keep the simple instruction as a phrase of role "raw", before the enriched ones."""


class BoxesConfig(Strict):
    """The labelled path: boxes that the source brought (`extra.boxes`) -> proposals."""


class AdoptConfig(Strict):
    """The labelled path: gold -> the one candidate."""


class PanelConfig(Strict):
    """Experts of one step of the panel (grounders, or segmenters and text segmenters)."""

    experts: list[ExpertUse]


class FuseConfig(Strict):
    """Candidates -> one label."""

    rule: Literal["best", "vote", "soft", "staple", "cluster"] = "staple"
    threshold: float = Field(0.5, ge=0, le=1)
    """Agreement at which a pixel belongs to a binary label."""
    saturate: bool = False
    """`soft` only: two experts of three count as full, as IVM's reader has it."""
    learnt: Path | dict[str, Any] | None = None
    """What `maskmix calibrate` learnt of each expert on an earlier dataset: its file; a resolved recipe holds it."""


class ChooseConfig(Strict):
    """Candidates -> one label: the first vote, unless judges find another better."""

    judges: list[ExpertUse] = Field(min_length=1)
    margin: float = Field(0.2, ge=0, le=1)
    """By how much another vote must beat the first, in the judges' [0, 1]; with 1 the first always stays."""


class ScoreConfig(Strict):
    """Label -> quality."""

    rule: Literal["agreement"] = "agreement"
    verifiers: list[ExpertUse] = Field(default_factory=list[ExpertUse])
    """Asked about every non-empty label; their verdicts become parts of the quality."""
    learnt: Path | dict[str, Any] | None = None
    """What `maskmix calibrate` learnt of the score on an earlier dataset: its file; a resolved recipe holds it."""


class KeepConfig(Strict):
    """Which samples are committed; the rest are rejects with a reason."""

    min_quality: float = Field(0.0, ge=0, le=1)
    min_area: float = Field(0.0, ge=0, le=1)
    """Share of the image that a non-empty label must cover at least."""
    max_area: float = Field(1.0, ge=0, le=1)
    empty: Literal["keep", "reject"] = "reject"
    """What happens to a sample whose label is empty (no target found)."""
    gold: Literal["keep", "judge"] = "keep"
    """keep: a sample with gold for training is committed whatever its machine label is worth."""


class StagesConfig(Strict):
    """The line after the source, in its one order; a stage left out does not run.

    `enrich`, `boxes` and `adopt` are the labelled path and take the places of `rewrite`, `ground` and `segment`;
    `join` adds candidates of experts that are asked the instruction itself, and `choose` takes the place of `fuse`.
    """

    rewrite: RewriteConfig | None = None
    enrich: EnrichConfig | None = None
    ground: PanelConfig | None = None
    boxes: BoxesConfig | None = None
    segment: PanelConfig | None = None
    adopt: AdoptConfig | None = None
    join: PanelConfig | None = None
    fuse: FuseConfig | None = None
    choose: ChooseConfig | None = None
    score: ScoreConfig | None = None
    keep: KeepConfig | None = None

    @model_serializer(mode="wrap")
    def _without_later_stages(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Stages that recipes once did not know are left out where they do not run: older hashes stay."""
        kept: dict[str, Any] = dump(self)
        return {k: v for k, v in kept.items() if v is not None or k not in ("join", "choose")}


class Recipe(Strict):
    """Everything that decides the bytes of a dataset."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    split: str = Field("train", pattern=r"^[a-z][a-z0-9_]{0,31}$")
    seed: int = Field(0, ge=0)
    """Of what the source draws (scenes, which samples have gold), unless the source's own seed says otherwise."""
    limit: int | None = Field(None, ge=1)
    """Only the first `limit` inputs of the source."""
    unit_size: int = Field(32, ge=1, le=100_000)
    """Inputs per unit = samples per shard at most."""
    image_format: Literal["jpg", "png"] = "jpg"
    source: dict[str, Any]
    """`kind` and that source's own options (its module's `Config`)."""
    stages: StagesConfig = StagesConfig()
    budget: BudgetConfig = Field(default_factory=BudgetConfig, exclude=True)


def load_recipe(
    name_or_file: str, overrides: Sequence[str] = (), *, package: str = "pipeline.recipes"
) -> dict[str, Any]:
    """The raw mapping of a recipe shipped in `package` or of a .yaml file, with `a.b=c` overrides applied.

    Raises:
        ValueError: there is no such recipe or file, it is not plain YAML (aliases and repeated keys are refused), or
            an override does not fit it.
    """
    if name_or_file.endswith((".yaml", ".yml")):
        path = Path(name_or_file)
        if not path.is_file():
            raise ValueError(f"recipe file {name_or_file} does not exist")
        data = path.read_bytes()
    else:
        shipped = sorted(
            f.name.removesuffix(".yaml")
            for f in resources.files(package).iterdir()
            if f.name.endswith(".yaml")
        )
        if name_or_file not in shipped:
            raise ValueError(unknown("recipe", name_or_file, shipped) + " (or give a .yaml file)")
        data = (resources.files(package) / f"{name_or_file}.yaml").read_bytes()
    raw = _parse_yaml(data, f"recipe {name_or_file}")
    if not isinstance(raw, dict):
        raise ValueError(f"recipe {name_or_file} holds {type(raw).__name__}; expected a mapping")
    return set_keys(raw, overrides)


def set_keys(raw: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`raw` with `a.b=c` overrides applied in place, the values read as YAML.

    Raises:
        ValueError: an override is no KEY=VALUE or leads nowhere.
    """
    for override in overrides:
        _set(raw, override)
    return raw


def validate(model: type[Any], raw: Mapping[str, Any], where: str) -> Any:
    """`raw` as `model`, with pydantic's errors turned into one readable message per key.

    Raises:
        ValueError: a key is unknown (with the nearest known one), missing, or its value is wrong.
    """
    try:
        return model.model_validate(dict(raw))
    except ValidationError as error:
        lines = [_explain(model, item) for item in error.errors()]
        raise ValueError(f"{where}: " + "; ".join(lines)) from None


def recipe_hash(recipe: BaseModel) -> str:
    """sha256 over the resolved recipe as sorted JSON."""
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _set(raw: dict[str, Any], override: str) -> None:
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise ValueError(
            f"--set {override!r}; expected KEY.KEY=VALUE, e.g. stages.keep.min_quality=0.3"
        )
    *parents, last = path.split(".")
    node: Any = raw
    for key in parents:
        slot = _slot(node, key, override)
        if isinstance(node, dict) and node.get(slot) is None:
            node[slot] = {}
        node = node[slot]
        if not isinstance(node, dict | list):
            raise ValueError(f"--set {override!r}: {key!r} holds {node!r:.60}, which has no keys")
    node[_slot(node, last, override)] = _parse_yaml(value.encode(), f"--set {override!r}")


def _slot(node: dict[str, Any] | list[Any], key: str, override: str) -> Any:
    if isinstance(node, dict):
        if not key:
            raise ValueError(f"--set {override!r} names an empty key; expected KEY.KEY=VALUE")
        return key
    if not (key.isascii() and key.isdigit() and int(key) < len(node)):
        raise ValueError(
            f"--set {override!r}: {key!r} is no place in a list of {len(node)}; the first is 0"
        )
    return int(key)


def _parse_yaml(data: bytes, where: str) -> Any:
    """Plain YAML: no aliases (a few lines of them unfold to gigabytes), no key twice (the first would be lost)."""
    try:
        text = data.decode()
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it uses YAML aliases; write the value out where it is used")
        _refuse_repeated_keys(yaml.compose(text, yaml.SafeLoader))
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not readable YAML: {error}") from error


def _refuse_repeated_keys(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := sorted({key for key in keys if keys.count(key) > 1}):
            raise ValueError(f"key {repeated[0]!r} appears twice, line {node.start_mark.line + 1}")
        for _, value in node.value:
            _refuse_repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item)


def _explain(model: type[BaseModel], item: Any) -> str:
    location = _without_tags(model, [str(part) for part in item["loc"]])
    name = ".".join(location)
    if item["type"] != "extra_forbidden":
        got = "" if item["type"] == "missing" else f" (got {item['input']!r:.80})"
        return f"{name}: {item['msg'].lower()}{got}"
    known = _keys(model, [str(part) for part in item["loc"]][:-1])
    near = difflib.get_close_matches(location[-1], known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"unknown key {name!r}{hint} Known here: {', '.join(known)}"


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    for index, part in enumerate(path):
        inner = _parts(model, part)
        if inner:
            chosen = "".join(path[index + 1 : index + 2])
            model = next((m for m in inner if chosen in _kinds(m)), inner[0])
    return sorted(model.model_fields)


def _without_tags(model: type[BaseModel], path: list[str]) -> list[str]:
    """The keys as a recipe writes them: pydantic puts the kind of a part that has several after its key."""
    for index, part in enumerate(path[:-1]):
        if any(path[index + 1] in _kinds(m) for m in _parts(model, part)):
            return path[: index + 1] + path[index + 2 :]
    return path


def _parts(model: type[BaseModel], key: str) -> list[type[BaseModel]]:
    """The models that may stand under a key."""
    if key not in model.model_fields:
        return []
    annotation = model.model_fields[key].annotation
    options = [annotation, *getattr(annotation, "__args__", ())]
    return [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    """Values of `kind` that choose a model among those that may stand under a key."""
    kind = model.model_fields.get("kind")
    return () if kind is None else getattr(kind.annotation, "__args__", ())
