"""Where the weights of a model lie, which they are and what licence they carry.

A model is a folder saved with `save_pretrained`, a single checkpoint file, or `org/name` on the Hugging Face hub. On
the hub `revision` pins a commit; without it the commit that the branch "main" points to is looked up, recorded, and
handed to every worker of the build. Only configuration, tokenizer and safetensors files are fetched, and no code of a
repository is ever run.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "README.md", "LICENSE*"]
"""What is fetched from the hub: no pickles, no code."""
UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """Which weights: `model` as it was given, `revision` the hub's commit or `sha256:` of the local files."""

    model: str
    revision: str
    licence: str


def name_weights(model: str, revision: str | None = None) -> Named:
    """Find out what `model` is without fetching its weights.

    Raises:
        ValueError: it is neither a path that exists nor a hub id, or the hub does not give it; the message says how
            to get it.
    """
    path = Path(model).expanduser()
    if path.exists():
        if revision is not None and revision != (found := _digest(path)):
            raise ValueError(
                f"weights {model} are {found}, not {revision}: the files changed, or another copy lies there"
            )
        return Named(model=model, revision=_digest(path), licence=_licence(path))
    if not HUB_ID.fullmatch(model):
        raise ValueError(
            f"weights {model!r}: no such file or folder, and not an org/name of the hub; give either"
        )
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import (
        HTTPError,  # pyright: ignore[reportPrivateImportUsage] - of httpx or httpx2, as the version has it
    )

    try:
        info = HfApi().model_info(model, revision=revision)
    except (HTTPError, OSError) as error:  # refused, offline, or not reached at all
        kept = try_to_load_from_cache(model, "config.json", revision=revision)
        if isinstance(kept, str) and not _says_no(error):
            folder = Path(kept).parent
            return Named(model=model, revision=folder.name, licence=_licence(folder))
        raise ValueError(_remedy(model, revision, error)) from error
    card = info.card_data.to_dict() if info.card_data else {}
    licence = str(card.get("license_name") or card.get("license") or UNKNOWN)
    assert info.sha is not None
    return Named(model=model, revision=info.sha, licence=licence)


def fetch_weights(model: str, revision: str | None = None) -> Path:
    """The folder or file that holds the weights, downloaded into the hub's cache if need be.

    Raises:
        ValueError: as `name_weights`.
    """
    path = Path(model).expanduser()
    if path.exists() or not HUB_ID.fullmatch(model):
        name_weights(model)
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HTTPError,  # pyright: ignore[reportPrivateImportUsage] - of httpx or httpx2, as the version has it
    )

    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=FILES))
    except (HTTPError, OSError) as error:
        raise ValueError(_remedy(model, revision, error)) from error


def present(model: str, revision: str | None = None) -> bool:
    """Whether the weights lie on this machine already; asks no server."""
    path = Path(model).expanduser()
    if path.exists() or not HUB_ID.fullmatch(model):
        return path.exists()
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = snapshot_download(
            model, revision=revision, allow_patterns=FILES, local_files_only=True
        )
    except (LocalEntryNotFoundError, OSError):
        return False
    return any(Path(folder).glob("*.safetensors"))


def _says_no(error: Exception) -> bool:
    """Whether the hub answered with a refusal, rather than not at all."""
    response = getattr(error, "response", None)
    return response is not None and response.status_code in (401, 403)


def _remedy(model: str, revision: str | None, error: Exception) -> str:
    from huggingface_hub.errors import (
        GatedRepoError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    get = f"hf download {model}" + (f" --revision {revision}" if revision else "")
    if isinstance(error, GatedRepoError):
        return (
            f"weights {model} are gated: accept their licence on the model's page of the hub, then run "
            f"`hf auth login` and `{get}`"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"weights {model} have no revision {revision!r}; give a commit that its page lists"
    if isinstance(error, RepositoryNotFoundError):
        return f"weights {model} are not on the hub, or are private: check the name, or run `hf auth login`"
    return (
        f"weights {model} are not on this machine and the hub does not answer ({type(error).__name__}); where it "
        f"does, run `{get}`, or give the path of a folder that holds them"
    )


def _digest(path: Path) -> str:
    """`sha256:` and 16 hex digits over names and contents of a file, or of a folder's files that decide answers."""
    if path.is_file():
        files = [path]
    else:
        files = sorted(
            p
            for p in path.iterdir()
            if p.suffix in (".json", ".safetensors", ".txt", ".model", ".jinja")
        )
    whole = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            whole.update(
                f"{file.name}\0{hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
            )
    return f"sha256:{whole.hexdigest()[:16]}"


def _licence(path: Path) -> str:
    """What the model card beside the weights says."""
    card = (path if path.is_dir() else path.parent) / "README.md"
    if not card.is_file():
        return UNKNOWN
    from huggingface_hub import ModelCard

    data = ModelCard(card.read_text("utf-8"), ignore_metadata_errors=True).data.to_dict()
    return str(data.get("license_name") or data.get("license") or UNKNOWN)
