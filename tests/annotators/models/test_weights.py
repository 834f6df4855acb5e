"""Weights are named and fetched from a hub on this machine; each refusal says what to do about it.

huggingface_hub reads its environment when it is imported, so every client here is a process of its own.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from annotators.models.weights import fetch_weights, name_weights, present
from tests.annotators.models.model_hub import COMMITS, serve

ROOT = Path(__file__).parents[3]
ASK = """
import sys, json, dataclasses
from annotators.models import weights
do, model, revision = sys.argv[1], sys.argv[2], (sys.argv[3:] or [None])[0]
try:
    answer = getattr(weights, do)(model, revision)
    answer = dataclasses.asdict(answer) if do == "name_weights" else answer if do == "present" else str(answer)
    print(json.dumps({"answer": answer}))
except ValueError as error:
    print(json.dumps({"said": str(error)}))
"""
GROUND = """
import sys, json
import numpy as np
from annotators.phrase import Phrase
from annotators.registry import make_expert
expert = make_expert("owlv2", {"model": "org/owlv2", "revision": sys.argv[1], "box_threshold": 0.0})
phrases = [[Phrase(text="the mug", role="raw", made_by="test")]]
found = expert.ground([np.zeros((20, 30, 3), np.uint8)], phrases)[0]
print(json.dumps({"boxes": len(found), "revision": found[0].made_by.revision, "model": found[0].made_by.model,
                  "licence": expert.identity.licence}))
"""


@pytest.fixture
def hub(tiny):
    with serve() as running:
        running.repos = {"org/owlv2": tiny("owlv2"), "gated/owlv2": tiny("owlv2")}
        yield running


@pytest.fixture
def client(hub, tmp_path):
    """Run code in a process that knows the hub; its last line of output, parsed."""

    def run(code, *arguments, **more):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
        known = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf-home"), "HF_HUB_DISABLE_XET": "1",
                 "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_ETAG_TIMEOUT": "2", "OMP_NUM_THREADS": "1",
                 "PYTHONPATH": str(ROOT)}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=kept | known | more,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


@pytest.mark.slow
def test_weights_are_fetched_at_the_pinned_commit_without_pickles_or_code(hub, client):
    named = client(ASK, "name_weights", "org/owlv2", COMMITS[0])["answer"]
    assert named == {"model": "org/owlv2", "revision": COMMITS[0], "licence": "apache-2.0"}
    assert not client(ASK, "present", "org/owlv2", COMMITS[0])["answer"]
    folder = Path(client(ASK, "fetch_weights", "org/owlv2", COMMITS[0])["answer"])
    assert folder.name == COMMITS[0]
    kept = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= kept
    assert not kept & {"model.bin", "code.py", "new.txt"}
    assert client(ASK, "present", "org/owlv2", COMMITS[0])["answer"]
    hub.asked.clear()
    assert client(ASK, "name_weights", "org/owlv2")["answer"]["revision"] == COMMITS[1]
    newer = Path(client(ASK, "fetch_weights", "org/owlv2")["answer"])
    assert (newer / "new.txt").exists()


@pytest.mark.slow
def test_an_expert_runs_from_the_hub_and_says_which_commit(client):
    found = client(GROUND, COMMITS[0])
    assert found.pop("boxes") > 0
    assert found == {"revision": COMMITS[0], "model": "org/owlv2", "licence": "apache-2.0"}
    again = client(GROUND, COMMITS[0], HF_HUB_OFFLINE="1")
    assert again["revision"] == COMMITS[0]


REFUSALS = [
    ("name_weights", "org/absent", None, {}, ["not on the hub, or are private", "hf auth login"]),
    ("name_weights", "org/absent", None, {"HF_TOKEN": "hf_x"}, ["not on the hub", "check the name"]),
    ("fetch_weights", "org/absent", None, {}, ["not on the hub", "hf auth login"]),
    ("name_weights", "org/owlv2", "c" * 40, {}, ["no revision 'ccc", "give a commit"]),
    ("fetch_weights", "org/owlv2", "c" * 40, {}, ["no revision 'ccc", "give a commit"]),
    ("fetch_weights", "gated/owlv2", None, {}, ["gated", "accept", "hf auth login", "hf download gated"]),
    ("fetch_weights", "gated/owlv2", COMMITS[0], {"HF_TOKEN": "hf_x"}, ["gated", f"--revision {COMMITS[0]}"]),
    ("name_weights", "org/owlv2", None, {"HF_HUB_OFFLINE": "1"}, ["does not answer", "hf download org/owlv2"]),
    ("fetch_weights", "org/owlv2", None, {"HF_HUB_OFFLINE": "1"}, ["does not answer", "hf download org/owlv2"]),
    ("name_weights", "org/owlv2", None, {"HF_ENDPOINT": "http://127.0.0.1:9"}, ["does not answer", "folder"]),
    ("fetch_weights", "org/owlv2", None, {"HF_ENDPOINT": "http://127.0.0.1:9"}, ["does not answer", "folder"]),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("do", "model", "revision", "more", "words"), REFUSALS)
def test_a_refusal_says_what_to_do(do, model, revision, more, words, client):
    said = client(ASK, do, model, *([revision] if revision else []), **more)["said"]
    assert all(word in said for word in [model, *words]), said


@pytest.mark.slow
def test_the_page_of_gated_weights_is_named_without_them(client):
    assert client(ASK, "name_weights", "gated/owlv2")["answer"]["licence"] == "apache-2.0"


@pytest.mark.slow
def test_a_local_folder_is_named_by_its_content(tiny, tmp_path):
    here = tmp_path / "copy"
    shutil.copytree(tiny("owlv2"), here)
    named = name_weights(str(here))
    assert named.licence == "apache-2.0"
    assert name_weights(str(tiny("owlv2"))).revision == named.revision
    assert name_weights(str(here), named.revision) == named
    assert fetch_weights(str(here)) == here
    assert present(str(here))
    (here / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="the files changed"):
        name_weights(str(here), named.revision)


def test_a_checkpoint_file_is_named_by_its_content(tmp_path):
    (tmp_path / "sam.pth").write_bytes(b"x")
    named = name_weights(str(tmp_path / "sam.pth"))
    assert named.revision.startswith("sha256:")
    assert named.licence == "unknown"
    assert fetch_weights(str(tmp_path / "sam.pth")) == tmp_path / "sam.pth"


@pytest.mark.parametrize("model", ["/no/such/folder", "weights.pth", "a b/c", "../x"])
def test_what_is_neither_path_nor_hub_id_is_refused(model):
    for ask in (name_weights, fetch_weights):
        with pytest.raises(ValueError, match="no such file or folder"):
            ask(model)
    assert not present(model)
