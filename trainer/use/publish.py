"""A trained model to the Hugging Face Hub, with a card: `push_model`; `Predictor.from_pretrained` reads it back.

What goes is a list, not a folder: tensors, the facts that build the model again, the run's recipe, results and the
card. Logs, checkpoints and predictions stay. Nothing goes that only this machine understands or that is nobody's
business: a path of this machine or something that looks like a token in any of the files is refused, not cut out.
"""

import json
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from annotators.models.weights import FILES as FETCHED
from annotators.models.weights import HUB_ID
from pipeline.card import fill_template, hub_licence
from pipeline.hub import fetch, publish
from pipeline.shards import write_atomic
from trainer.models.saved_model import FACTS, TENSORS, load_model, read_files

CARD = "README.md"
RUN = "run.json"
RESULTS = "results"
TEMPLATE = "templates/model_card.md.j2"
SECRET = re.compile(r"\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,})")
LOCAL = re.compile(r"(/|~/|[A-Za-z]:\\)[\w.-]+[/\\]|~/")
NO_LICENCE = ("unknown", "other")


def push_model(
    folder: Path,
    repo_id: str,
    *,
    licence: str | None = None,
    private: bool = True,
    endpoint: str | None = None,
) -> str:
    """Publish the model of a finished run as model repository `repo_id`, in one commit.

    A card is written where there is none (`write_model_card`); one that is there goes as it is.

    Args:
        folder: of a finished run.
        repo_id: "name" or "org/name".
        licence: of the weights, as the Hub names it ("apache-2.0"); that of the training data when None.
        private: who sees a repository that is made for it.
        endpoint: of another server.

    Returns:
        The address of the commit, or of the repository when it holds all of it already.

    Raises:
        ValueError: there is no finished run, its licence is not known, a file holds what must not be published, or the
            server refuses.
        ConnectionError: the server cannot be reached or failed; run the same command again.
    """
    facts, _ = read_files(folder)
    local = [
        f"{part}: {named['model']}"
        for part, named in facts.get("frozen", {}).items()
        if not HUB_ID.fullmatch(named["model"]) or str(named["revision"]).startswith("sha256:")
    ]
    if local:
        raise ValueError(
            f"{folder} stands on weights that only this machine has ({', '.join(local)}); train it with their hub ids "
            "to publish it"
        )
    if not (folder / CARD).exists():
        write_model_card(folder, repo_id, licence=licence)
    elif licence is not None:
        raise ValueError(
            f"{folder / CARD} is there and names a licence itself; change it there, or delete it to have it written "
            "anew"
        )
    files = published_files(folder)
    for name, path in files.items():
        if path.suffix in (".json", ".md") and (found := _unfit(path)):
            raise ValueError(f"{folder / name} holds {found}, which must not be published")
    return publish(
        repo_id,
        files,
        kind="model",
        private=private,
        message=f"{facts['parameters']} parameters, {facts['sha256'][:12]}",
        owned=lambda name: name in files or name.startswith(f"{RESULTS}/"),
        known={TENSORS: facts["sha256"]},
        endpoint=endpoint,
    )


def pull_model(
    repo_id: str, out: Path, *, revision: str | None = None, endpoint: str | None = None
) -> Path:
    """Fetch a model repository into the folder `out` and load it once; running it again fetches what is missing.

    Raises:
        ValueError: `out` holds something else, there is no such repository, or what came is no whole model.
        ConnectionError: the server cannot be reached or failed; run the same command again.
    """
    fetch(repo_id, out, kind="model", patterns=FETCHED, revision=revision, endpoint=endpoint)
    load_model(out)
    return out


def published_files(folder: Path) -> dict[str, Path]:
    """What belongs to a model, by path in the repository."""
    results = {f"{RESULTS}/{p.name}": p for p in sorted((folder / RESULTS).glob("[!.]*.json"))}
    return {name: folder / name for name in (TENSORS, FACTS, RUN, CARD)} | results


def write_model_card(folder: Path, repo_id: str, *, licence: str | None = None) -> Path:
    """Write README.md of a finished run; the same run gives the same bytes.

    Raises:
        ValueError: there is no finished run, or the licence is neither given nor known from the training data.
    """
    facts, _ = read_files(folder)
    run = _read(folder / RUN)
    results: list[tuple[str, dict[str, Any]]] = []
    more: list[str] = []
    for name in published_files(folder):
        if name.startswith(f"{RESULTS}/"):
            measured = _read(folder / name)
            if isinstance(measured.get("overall"), dict) and "giou" in measured["overall"]:
                results.append((measured.get("dataset", name), measured["overall"]))
            else:
                more.append(name)
    frozen = [
        (part, named["model"], named["revision"], named["licence"])
        for part, named in facts.get("frozen", {}).items()
    ]
    identifier, named = model_licence(run, licence)
    head: dict[str, Any] = {"library_name": "maskmix", "pipeline_tag": "image-segmentation"}
    head["license"] = identifier
    if named:
        head["license_name"] = named
    if frozen:
        head["base_model"] = sorted({weights for _, weights, _, _ in frozen})
        head["base_model_relation"] = "adapter"
    head["tags"] = ["maskmix", "referring-expression-segmentation", run["method"]]
    text = fill_template(
        resources.files("trainer").joinpath(TEMPLATE).read_text(),
        head=yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip(),
        title=repo_id.rpartition("/")[2],
        repo_id=repo_id,
        kind=facts["model"].get("kind", "tiny"),
        model={"parameters_frozen": 0, **facts},
        run=run,
        frozen=frozen,
        licences=sorted(run.get("dataset_licences", {"not recorded": 0}).items()),
        results=results,
        more_results=more,
    )
    write_atomic(folder / CARD, text.encode())
    return folder / CARD


def model_licence(run: dict[str, Any], licence: str | None) -> tuple[str, str]:
    """The Hub's identifier of a model's licence, and its name where the Hub has none.

    Raises:
        ValueError: none was given, and the training data have none, several, or one that the Hub does not know.
    """
    if licence is not None:
        identifier, named = hub_licence({licence: 1})
        assert isinstance(identifier, str)
        return identifier, named
    of_data = run.get("dataset_licences", {})
    identifier, _ = hub_licence(of_data)
    if not of_data or isinstance(identifier, list) or identifier in NO_LICENCE:
        found = ", ".join(sorted(name or "unknown" for name in of_data)) or "not recorded"
        raise ValueError(
            f"give a licence for the weights (--licence apache-2.0): that of the training data is {found}"
        )
    return identifier, ""


def _unfit(path: Path) -> str:
    """What a text file holds that must not be published; empty when nothing."""
    text = path.read_text("utf-8")
    if found := SECRET.search(text):
        return f"what looks like a token ({found[0][:6]}...)"
    for value in _texts(json.loads(text)) if path.suffix == ".json" else ():
        if LOCAL.match(value):
            return f"the path {value!r} of this machine"
    return f"the path {Path.home()} of this machine" if _names_home(text) else ""


def _names_home(text: str) -> bool:
    home = str(Path.home())
    return home != "/" and f"{home}/" in text


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(key)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} is not readable: {error}; expected a finished run") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no object; expected a finished run")
    return found
