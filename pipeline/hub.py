"""A dataset folder to the Hugging Face Hub and back: `push` in one atomic commit, `pull` and verify.

Large files are uploaded first, each skipped when the server has its content already, and then one commit on top of the
revision that was looked at makes them all visible: a push that dies leaves the repository as it was, and running it
again sends only what is missing. `publish` and `fetch` do that for files of any kind; models go the same way.
`HF_ENDPOINT` (or `endpoint`) names another server; such a server rarely speaks Xet, and huggingface_hub does not fall
back by itself: set `HF_HUB_DISABLE_XET=1` before starting.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    constants,
    get_token,
    snapshot_download,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    HTTPError,  # pyright: ignore[reportPrivateImportUsage] - of httpx or httpx2, as the version has it
    LocalEntryNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from pipeline.card import CARD, write_card
from pipeline.manifest import MANIFEST, read_manifest, read_receipts
from pipeline.validate import Report, verify

Kind = Literal["dataset", "model"]
FILES = (CARD, MANIFEST, "plan.json")
FOLDERS = ("shards", "receipts", "rejects", "index", "sidecars")
TOLD = 5
"""Problems of an unsound dataset that an error message repeats."""


def push(root: Path, repo_id: str, *, private: bool = True, endpoint: str | None = None) -> str:
    """Publish a verified dataset folder as dataset repository `repo_id` ("name" or "org/name").

    The repository is made when it is absent (`private` then says who sees it); afterwards it holds exactly this
    dataset: what an older one left under the same folders is deleted in the same commit. A card is written where
    there is none. Nothing is sent when the repository holds all of it already.

    Returns:
        The address of the commit, or of the repository when there was nothing to commit.

    Raises:
        ValueError: the dataset is unsound or empty, there is no token, or the server refuses (and why).
        ConnectionError: the server cannot be reached or failed; run the same command again.
    """
    _refuse_unsound(verify(root), "push")
    manifest = read_manifest(root)
    if not manifest.totals.committed:
        raise ValueError(f"{root} holds no samples; there is nothing to push")
    if not (root / CARD).exists():
        write_card(root)
    return publish(
        repo_id,
        _files(root),
        kind="dataset",
        private=private,
        message=f"{manifest.name}: {manifest.totals.committed} samples, recipe {manifest.recipe_hash[:12]}",
        owned=lambda name: name.partition("/")[0] in FOLDERS or name in FILES,
        known={r.shard: r.sha256 for r in read_receipts(root) if r.shard},
        endpoint=endpoint,
    )


def publish(
    repo_id: str,
    files: Mapping[str, Path],
    *,
    kind: Kind,
    private: bool,
    message: str,
    owned: Callable[[str], bool],
    known: Mapping[str, str] = MappingProxyType({}),
    endpoint: str | None = None,
) -> str:
    """Make a repository hold `files` (by path in it) in one commit; makes it, private or not, when it is absent.

    What is `owned` by path and no longer among the files is deleted; other files are left alone. `known` are sha256 of
    files by path, as far as they need not be computed.

    Returns:
        The address of the commit, or of the repository when there was nothing to commit.

    Raises:
        ValueError: there is no token, or the server refuses (and why).
        ConnectionError: the server cannot be reached or failed; run the same command again.
    """
    if not get_token():
        raise ValueError("there is no access token: run `hf auth login`, or set HF_TOKEN")
    api = HfApi(endpoint=endpoint)
    with _explained(repo_id, api.endpoint, kind):
        api.create_repo(repo_id, repo_type=kind, private=private, exist_ok=True)
        head = api.repo_info(repo_id, repo_type=kind).sha
        theirs = {
            entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
            for entry in api.list_repo_tree(repo_id, repo_type=kind, recursive=True, revision=head)
            if isinstance(entry, RepoFile)
        }
        operations: list[CommitOperationAdd | CommitOperationDelete] = [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path))
            for name, path in files.items()
            if theirs.get(name) not in _object_ids(path, known.get(name))
        ]
        operations += [
            CommitOperationDelete(path_in_repo=name)
            for name in sorted(theirs.keys() - files.keys())
            if owned(name)
        ]
        if not operations:
            return f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
        done = api.create_commit(
            repo_id, operations, repo_type=kind, parent_commit=head, commit_message=message
        )
    return str(done.commit_url)


def pull(
    repo_id: str, out: Path, *, revision: str | None = None, endpoint: str | None = None
) -> Path:
    """Fetch a dataset repository into the folder `out` and verify it; running it again fetches what is missing.

    Raises:
        ValueError: `out` holds something else, there is no such repository or revision, or what came is unsound.
        ConnectionError: the server cannot be reached or failed; run the same command again.
    """
    patterns = [*FILES, *(f"{folder}/*" for folder in FOLDERS)]
    fetch(repo_id, out, kind="dataset", patterns=patterns, revision=revision, endpoint=endpoint)
    _refuse_unsound(verify(out), "use")
    return out


def fetch(
    repo_id: str,
    out: Path,
    *,
    kind: Kind,
    patterns: Sequence[str],
    revision: str | None = None,
    endpoint: str | None = None,
) -> None:
    """Fetch the files of a repository that match `patterns` into `out`, or those of them that are missing there.

    Raises:
        ValueError: `out` holds something that was not fetched, or there is no such repository or revision.
        ConnectionError: the server cannot be reached or failed; run the same command again.
    """
    resumed = (out / ".cache" / "huggingface").is_dir()
    if out.exists() and not resumed and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} is there already and was not pulled; give an empty folder")
    with _explained(repo_id, endpoint or constants.ENDPOINT, kind):
        snapshot_download(
            repo_id,
            repo_type=kind,
            revision=revision,
            local_dir=out,
            endpoint=endpoint,
            allow_patterns=list(patterns),
        )


def _files(root: Path) -> dict[str, Path]:
    """What belongs to a dataset, by path in the repository; the manifest and the card come last."""
    found = {
        f"{folder}/{path.name}": path
        for folder in FOLDERS
        for path in sorted((root / folder).glob("[!.]*"))
        if path.is_file()
    }
    return found | {name: root / name for name in reversed(FILES) if (root / name).exists()}


def _object_ids(path: Path, sha256: str | None) -> set[str]:
    """What a repository may call this content: its sha256 (large files), its git blob id (small ones)."""
    if sha256:
        return {sha256}
    data = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
    return {hashlib.sha256(data).hexdigest(), git.hexdigest()}


def _refuse_unsound(report: Report, verb: str) -> None:
    if report.ok:
        return
    more = len(report.problems) - TOLD
    lines = [f"  {problem}" for problem in report.problems[:TOLD]]
    lines += [f"  and {more} more; run `maskmix verify {report.root}`"] if more > 0 else []
    raise ValueError("\n".join([f"{report.root} is unsound, so do not {verb} it:", *lines]))


@contextmanager
def _explained(repo_id: str, endpoint: str, kind: Kind) -> Iterator[None]:
    """Turn what huggingface_hub raises into what happened and what to do."""
    try:
        yield
    except HFValidationError as error:
        raise ValueError(
            f"{repo_id!r} is no repository name; expected ORG/NAME: {error}"
        ) from error
    except (HTTPError, OSError, RuntimeError) as error:
        cause = error if isinstance(error, HTTPError | OSError) else error.__cause__
        status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else 0
        if "/xet-write-token/" in str(error):  # hf_xet tells it in words alone
            raise ValueError(
                f"{endpoint} does not speak Xet: set HF_HUB_DISABLE_XET=1 and run the same command again"
            ) from error
        if 400 <= status < 500 and status != 429:
            raise ValueError(_refusal(status, repo_id, endpoint, kind, str(cause))) from error
        if isinstance(cause, HTTPError | LocalEntryNotFoundError) or status:
            said = f"{type(cause).__name__}: {cause}".splitlines()[0]
            raise ConnectionError(
                f"{endpoint} failed ({said}); the repository is as it was: "
                "run the same command again, it sends or fetches only what is missing"
            ) from error
        raise


def _refusal(status: int, repo_id: str, endpoint: str, kind: Kind, said: str) -> str:
    known = {
        401: "the token is not valid there, or the repository is private: run `hf auth login`, or set HF_TOKEN",
        403: "the token may not do that: take one with write access to this repository",
        404: f"there is no such {kind} repository or revision, or the token may not see it",
        409: "another commit is under way: run the same command again",
        412: "somebody committed meanwhile: run the same command again to push on top of that",
    }
    return f"{endpoint} refused {repo_id} ({status}): {known.get(status, said.strip())}"
