"""Push, load by name, pull and verify against a hub on this machine; what the server refuses is said plainly.

huggingface_hub reads its environment when it is imported, so every client here is a process of its own.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from pipeline.records import Reject
from tests.pipeline.datasets_for_tests import samples, write_dataset
from tests.pipeline.hub_server import DROP, TOKEN, Hub, serve

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

PUSH = """
import sys, json, pathlib
from pipeline.hub import push
try:
    print(json.dumps({"url": push(pathlib.Path(sys.argv[1]), sys.argv[2])}))
except Exception as error:
    print(json.dumps({"kind": type(error).__name__, "said": str(error)}))
"""

PULL = """
import sys, json, pathlib
from pipeline.hub import pull
try:
    print(json.dumps({"root": str(pull(sys.argv[1], pathlib.Path(sys.argv[2]), revision=(sys.argv[3:] or [None])[0]))}))
except Exception as error:
    print(json.dumps({"kind": type(error).__name__, "said": str(error)}))
"""

LOAD = """
import sys, json, hashlib
from datasets import load_dataset
import numpy as np

def digest(rows):
    return [[r["__key__"], r["json"]["instructions"], hashlib.sha256(np.asarray(r["mask.png"]).tobytes()).hexdigest()]
            for r in rows]

whole = load_dataset(sys.argv[1], split="train")
stream = load_dataset(sys.argv[1], split="train", streaming=True)
print(json.dumps({"whole": digest(whole), "stream": digest(stream), "same": whole.features == stream.features}))
"""


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as running:
        yield running


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven samples in four shards; not to be written to."""
    root = tmp_path_factory.mktemp("dataset")
    write_dataset(root, samples(7))
    from pipeline.card import write_card

    write_card(root)
    return root


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Callable[..., Any]:
    """Run code in a process that knows the hub; its last line of output, parsed."""

    def run(
        code: str,
        *arguments: object,
        token: str = TOKEN,
        endpoint: str = "",
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> Any:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=environment(endpoint or hub.endpoint, tmp_path, token) | dict(more),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def environment(endpoint: str, home: Path, token: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return {
        **kept,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home / "hf-home"),
        "HF_TOKEN": token,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }


def files_of(root: Path) -> dict[str, bytes]:
    folders = ("shards", "receipts", "rejects", "index", "sidecars")
    paths = [p for folder in folders for p in (root / folder).glob("*")]
    paths += [root / "manifest.json", root / "README.md"]
    return {str(p.relative_to(root)): p.read_bytes() for p in paths}


def test_a_pushed_dataset_loads_by_name_and_comes_back_whole(hub, client, dataset, tmp_path):
    answer = client(PUSH, dataset, "org/tiny")
    assert answer["url"].startswith(f"{hub.endpoint}/datasets/org/tiny/commit/")
    assert hub.repos["org/tiny"].private
    assert len(hub.repos["org/tiny"].commits) == 2, "the initial one and one of ours"
    stored = {p: d for p, d in hub.tree("org/tiny").items() if p != ".gitattributes"}
    assert stored == files_of(dataset)

    loaded = client(LOAD, "org/tiny")
    assert loaded["same"]
    assert loaded["whole"] == loaded["stream"]
    assert [row[:2] for row in loaded["whole"]] == [
        [s.id, list(s.instructions)] for s in samples(7)
    ]

    out = tmp_path / "pulled"
    assert client(PULL, "org/tiny", out) == {"root": str(out)}
    assert files_of(out) == files_of(dataset)
    assert client(PULL, "org/tiny", out) == {"root": str(out)}, "pulling again changes nothing"


def test_what_a_build_measured_and_spent_is_not_published(hub, client, dataset, tmp_path):
    root = tmp_path / "built"
    shutil.copytree(dataset, root)
    (root / "usage").mkdir()
    (root / "usage" / "train-000000.json").write_text('{"unit": 0, "experts": []}')
    (root / "usage" / "budget.json").write_text("{}")
    (root / "spending.jsonl").write_text('{"event": "cached"}\n')
    client(PUSH, root, "org/tiny")
    stored = {p: d for p, d in hub.tree("org/tiny").items() if p != ".gitattributes"}
    assert stored == files_of(dataset)


def test_pushing_again_sends_nothing_and_commits_nothing(hub, client, dataset):
    client(PUSH, dataset, "org/tiny")
    hub.asked.clear()
    assert client(PUSH, dataset, "org/tiny")["url"] == f"{hub.endpoint}/datasets/org/tiny"
    assert hub.puts() == 0
    assert len(hub.repos["org/tiny"].commits) == 2


def test_another_dataset_replaces_the_old_one_in_one_commit(hub, client, dataset, tmp_path):
    client(PUSH, dataset, "org/tiny")
    write_dataset(tmp_path / "less", samples(3))
    hub.asked.clear()
    client(PUSH, tmp_path / "less", "org/tiny")
    assert len(hub.repos["org/tiny"].commits) == 3
    stored = {p: d for p, d in hub.tree("org/tiny").items() if p != ".gitattributes"}
    assert stored == files_of(tmp_path / "less")
    assert hub.puts() == 2, "the first shard was there already"


def test_an_old_revision_can_be_pulled(hub, client, dataset, tmp_path):
    client(PUSH, dataset, "org/tiny")
    old = hub.repos["org/tiny"].commits[-1][0]
    write_dataset(tmp_path / "less", samples(3))
    client(PUSH, tmp_path / "less", "org/tiny")
    client(PULL, "org/tiny", tmp_path / "old", old)
    assert files_of(tmp_path / "old") == files_of(dataset)


def test_a_server_error_and_a_dropped_connection_during_upload_are_tried_again(
    hub, client, dataset
):
    failures = [500, DROP]
    hub.fault = lambda method, path: failures.pop() if method == "PUT" and failures else None
    assert "url" in client(PUSH, dataset, "org/tiny")
    assert not failures
    assert hub.tree("org/tiny").keys() > files_of(dataset).keys()


def test_a_push_that_is_killed_leaves_the_repository_and_the_next_sends_the_rest(
    hub, client, dataset, tmp_path
):
    reached, go_on, sent = threading.Event(), threading.Event(), []

    def hang(method: str, path: str) -> int | None:
        if method == "PUT":
            sent.append(path)
            if len(sent) == 4:
                reached.set()
                go_on.wait(60)
                return DROP
        return None

    hub.fault = hang
    child = subprocess.Popen(
        [sys.executable, "-c", PUSH, str(dataset), "org/tiny"],
        env=environment(hub.endpoint, tmp_path, TOKEN),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert reached.wait(60)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        go_on.set()
    assert len(hub.repos["org/tiny"].commits) == 1, "nothing of it is visible"

    hub.fault = lambda method, path: None
    arrived = len(hub.objects)
    hub.asked.clear()
    assert "url" in client(PUSH, dataset, "org/tiny")
    assert 0 < hub.puts() == 5 - arrived, "four shards and an index, less what had arrived"
    assert hub.tree("org/tiny").keys() > files_of(dataset).keys()


def test_a_commit_that_somebody_else_made_meanwhile_is_not_overwritten(hub, client, dataset):
    def race(method: str, path: str) -> int | None:
        if path.endswith("/preupload/main"):
            repo = hub.repos["org/tiny"]
            repo.commit("theirs", dict(repo.commits[-1][2]))
        return None

    hub.fault = race
    answer = client(PUSH, dataset, "org/tiny")
    assert answer["kind"] == "ValueError"
    assert "somebody committed meanwhile: run the same command again" in answer["said"]
    assert [message for _, message, _ in hub.repos["org/tiny"].commits][-1] == "theirs"


def test_an_unsound_dataset_is_not_pushed(hub, client, dataset, tmp_path):
    root = shutil.copytree(dataset, tmp_path / "cut")
    shard = root / "shards/train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-2048])
    answer = client(PUSH, root, "org/tiny")
    assert "is unsound, so do not push it" in answer["said"]
    assert "shards/train-000001.tar: has sha256" in answer["said"]
    assert not hub.asked


def test_a_repository_that_was_tampered_with_is_not_taken_for_sound(hub, client, dataset, tmp_path):
    client(PUSH, dataset, "org/tiny")
    repo = hub.repos["org/tiny"]
    tree = dict(repo.commits[-1][2])
    del tree["receipts/train-000002.json"]
    repo.commit("oops", tree)
    answer = client(PULL, "org/tiny", tmp_path / "pulled")
    assert "is unsound, so do not use it" in answer["said"]
    assert "units 2 have no receipt" in answer["said"]


@pytest.mark.parametrize(
    ("repo", "token", "expected"),
    [
        ("org/tiny", "", "there is no access token: run `hf auth login`, or set HF_TOKEN"),
        ("org/tiny", "hf_wrong", "the token is not valid there"),
        ("org/tiny/more", TOKEN, "is no repository name; expected ORG/NAME"),
    ],
)
def test_a_push_that_cannot_be_is_refused_plainly(hub, client, dataset, repo, token, expected):
    answer = client(PUSH, dataset, repo, token=token)
    assert answer["kind"] == "ValueError"
    assert expected in answer["said"]
    assert not hub.repos


def test_a_token_without_write_access_is_named(hub, client, dataset):
    hub.fault = lambda method, path: 403 if path.endswith("/create") else None
    assert "take one with write access" in client(PUSH, dataset, "org/tiny")["said"]


def test_a_server_without_xet_is_named_with_the_remedy(hub, client, dataset, tmp_path):
    pytest.importorskip("hf_xet")
    more = {"HF_HUB_DISABLE_XET": "0", "HOME": str(tmp_path)}  # it logs under the home folder
    answer = client(PUSH, dataset, "org/tiny", more=more)
    assert answer["kind"] == "ValueError", answer
    assert "does not speak Xet: set HF_HUB_DISABLE_XET=1" in answer["said"]
    assert len(hub.repos["org/tiny"].commits) == 1


def test_what_is_not_there_cannot_be_pulled(hub, client, dataset, tmp_path):
    answer = client(PULL, "org/absent", tmp_path / "out")
    assert "there is no such dataset repository" in answer["said"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    answer = client(PULL, "org/absent", tmp_path / "mine")
    assert "give an empty folder" in answer["said"]


def test_a_server_that_is_not_there_is_named(client, dataset, tmp_path):
    answer = client(PULL, "org/tiny", tmp_path / "out", endpoint="http://127.0.0.1:9")
    assert answer["kind"] == "ConnectionError"
    assert "http://127.0.0.1:9 failed" in answer["said"]


def test_a_dataset_without_samples_is_not_pushed(hub, client, tmp_path):
    dull = Reject(sample_id="dull-1", stage="keep", reason="quality-low")
    write_dataset(tmp_path / "none", [], rejects=[dull])
    assert "holds no samples" in client(PUSH, tmp_path / "none", "org/none")["said"]
