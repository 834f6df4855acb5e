"""Models of folds: a folder of trained models, each of which may be asked about the pictures it has not learnt from.

`FOLDER/folds.json` deals pictures into folds, and `FOLDER/fold-k` holds what was trained without fold k. Pictures are
known by their pixels (`annotators.models.encodings.pixels_key`), since an expert sees nothing else of a sample. So a
model can annotate, or judge, the very dataset it comes from, and never what it learnt by heart. A folder with a model
of its own and without folds.json is one model, which may be asked about everything.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from annotators.identity import Identity
from annotators.models.encodings import pixels_key
from annotators.models.weights import fetch_weights, name_weights
from annotators.protocols import Image
from pipeline.shards import write_atomic

FOLDS = "folds.json"
FORMAT, KIND = 1, "maskmix-folds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One model: its folder, the name it goes by in provenance, and which weights it has."""

    folder: Path
    model: str
    revision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """The models of a folder and what each may be asked.

    `fold_of` is the fold of every picture that any of them learnt from, by the key of its pixels; empty for one model.
    None: all of them have seen it, as two files with the same pixels.
    """

    members: tuple[Member, ...]
    revision: str
    licence: str
    fold_of: Mapping[str, int | None] = field(default_factory=dict[str, int | None], repr=False)

    def may_answer(self, image: Image) -> tuple[int, ...]:
        """Indices of the members that have not learnt from a picture: one, none, or all when nobody knows it."""
        key = pixels_key(image) if self.fold_of else ""
        if key not in self.fold_of:
            return tuple(range(len(self.members)))
        fold = self.fold_of[key]
        return () if fold is None else (fold,)


def deal_pictures(pictures: Iterable[tuple[Image, int]]) -> dict[str, int | None]:
    """What `write_folds` takes, from pictures and their folds: None for one whose pixels lie in several."""
    fold_of: dict[str, int | None] = {}
    for image, fold in pictures:
        key = pixels_key(image)
        fold_of[key] = fold if fold_of.get(key, fold) == fold else None
    return fold_of


def write_folds(folder: Path, fold_of: Mapping[str, int | None], *, folds: int) -> None:
    """Write `folds.json` atomically, which finishes the folder: its members are there already.

    Args:
        folder: holds `fold-0` to `fold-{folds - 1}`.
        fold_of: key of a picture's pixels -> the fold whose model has not seen it, or None (`deal_pictures`).
        folds: how many there are.
    """
    assert set(fold_of.values()) <= {None, *range(folds)}, folds
    facts = {"format": FORMAT, "kind": KIND, "folds": folds, "pictures": dict(fold_of)}
    text = json.dumps(facts, indent=1, sort_keys=True)
    write_atomic(folder / FOLDS, text.encode() + b"\n")


def find_folds(model: str, revision: str | None, *, expert: str, facts: str) -> Folds:
    """The models that `model` names, their weights hashed but not loaded.

    Args:
        model: a folder with a model or with folds of them, or `org/name` on the hub.
        revision: commit of the hub, or the `sha256:...` that local files must have.
        expert: who asks, for messages.
        facts: name of the JSON file that stands beside a model's tensors.

    Raises:
        ValueError: there is no such model, a file is damaged, or the weights are not those of `revision`.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        named = name_weights(model, revision)
        folder = fetch_weights(model, named.revision)
        member = Member(folder=folder, model=model, revision=named.revision)
        return Folds(members=(member,), revision=named.revision, licence=named.licence)
    licence = name_weights(model).licence
    if not (folder / FOLDS).exists():
        found = _digest(folder, expert, facts)
        folds = Folds(
            members=(Member(folder=folder, model=model, revision=found),),
            revision=found,
            licence=licence,
        )
    else:
        folds = _read(folder, model, licence, expert, facts)
    if revision is not None and revision != folds.revision:
        raise ValueError(
            f"expert {expert!r}: weights {model} are {folds.revision}, not {revision}: the files changed, or another "
            "copy lies there"
        )
    return folds


def identity_with(folds: Folds, *, expert: str, model: str, config_hash: str) -> Identity:
    """Who answers, as the panel of a build records it; candidates name the one member that made them."""
    return Identity(
        expert=expert,
        model=model,
        revision=folds.revision,
        licence=folds.licence,
        config_hash=config_hash,
    )


def _read(folder: Path, model: str, licence: str, expert: str, facts: str) -> Folds:
    where = folder / FOLDS
    try:
        data = where.read_bytes()
        told = json.loads(data)
        if (told["format"], told["kind"]) != (FORMAT, KIND):
            raise ValueError(f"format {told['format']!r} of {told['kind']!r}")
        count, fold_of = int(told["folds"]), dict(told["pictures"])
        if not set(fold_of.values()) <= {None, *range(count)}:
            raise ValueError(f"a picture is in none of the {count} folds")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where} is not readable: {error!r}; train the folds again") from error
    members = tuple(
        Member(
            folder=folder / f"fold-{k}",
            model=f"{model}/fold-{k}",
            revision=_digest(folder / f"fold-{k}", expert, facts),
        )
        for k in range(count)
    )
    whole = "".join([hashlib.sha256(data).hexdigest(), *(m.revision for m in members)])
    return Folds(members=members, revision=_short(whole.encode()), licence=licence, fold_of=fold_of)


def _digest(folder: Path, expert: str, facts: str) -> str:
    """`sha256:` and 16 hex digits over the files that decide answers: tensors, and the JSON beside them."""
    files = [*sorted(folder.glob("*.safetensors")), folder / facts]
    if len(files) < 2 or not files[-1].is_file():
        raise ValueError(
            f"expert {expert!r}: {folder} holds no trained model ({facts} and its tensors); expected the folder of a "
            "finished training, or one with folds of them"
        )
    whole = ""
    for file in files:
        with file.open("rb") as stream:
            whole += f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n"
    return _short(whole.encode())


def _short(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()[:16]}"
