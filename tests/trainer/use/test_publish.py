"""A model goes to a hub on this machine with its card, and comes back by name with the same predictions.

huggingface_hub reads its environment when it is imported, so every client here is a process of its own.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.pipeline.hub_server import TOKEN, Hub, serve
from tests.pipeline.test_hub import environment
from trainer.config import TrainRecipe
from trainer.fit import fit
from trainer.measure.evaluate import evaluate
from trainer.use.predictor import Predictor
from trainer.use.publish import model_licence, push_model, write_model_card

ROOT = Path(__file__).parents[3]
PREDICT = """
import sys, json
import numpy as np
from trainer.use.predictor import Predictor
try:
    predictor = Predictor.from_pretrained(sys.argv[1], revision=(sys.argv[2:] or [None])[0], device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    print(json.dumps({"bytes": predictor.predict(image, "the red square").tobytes().hex()}))
except ValueError as error:
    print(json.dumps({"said": str(error)}))
"""


@pytest.fixture(scope="module")
def trained(squares: Path, squares_test: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = {
        "name": "test",
        "data": {"size_hw": (16, 24), "batch": 4},
        "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
        "optim": {"steps": 2},
    }
    run = fit(squares, TrainRecipe.model_validate(raw), out=tmp_path_factory.mktemp("run"))
    evaluate(run, squares_test)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serve() as running:
        yield running


@pytest.mark.slow
def test_a_pushed_model_comes_back_by_name_with_the_same_predictions(
    run: Path, hub: Hub, tmp_path: Path
):
    env = environment(hub.endpoint, tmp_path, TOKEN)

    def python(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *words], env=env, cwd=ROOT, capture_output=True, text=True, timeout=240
        )

    done = python("-m", "maskmix", "push", str(run), "org/squares-model")
    assert done.returncode == 0, done.stderr
    repo = hub.repos["models/org/squares-model"]
    assert repo.private
    assert done.stdout.strip() == f"{hub.endpoint}/org/squares-model/commit/{repo.commits[-1][0]}"
    stored = hub.tree("models/org/squares-model")
    assert set(stored) == {
        ".gitattributes", "README.md", "model.json", "model.safetensors", "run.json",
        "results/squares-test-train.json",
    }  # fmt: skip
    assert stored["model.safetensors"] == (run / "model.safetensors").read_bytes()

    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    expected = Predictor.from_pretrained(run, device="cpu").predict(image, "the red square")
    for words in (["org/squares-model"], ["org/squares-model", repo.commits[-1][0]]):
        answer = json.loads(python("-c", PREDICT, *words).stdout)
        came = np.frombuffer(bytes.fromhex(answer["bytes"]), np.float32).reshape(expected.shape)
        np.testing.assert_allclose(came, expected, atol=1e-6)  # threads may move the last bits
    assert "no revision" in json.loads(python("-c", PREDICT, words[0], "c" * 40).stdout)["said"]
    assert "not on the hub" in json.loads(python("-c", PREDICT, "org/absent").stdout)["said"]
    env["HF_HUB_OFFLINE"] = "1"
    assert json.loads(python("-c", PREDICT, "org/squares-model").stdout) == answer, "from the cache"
    assert "does not answer" in json.loads(python("-c", PREDICT, "org/absent").stdout)["said"]
    del env["HF_HUB_OFFLINE"]

    pull = ["-m", "maskmix", "pull", "org/squares-model", "--out", str(tmp_path / "again")]
    done = python(*pull, "--model")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "again" / "model.json").read_bytes() == (run / "model.json").read_bytes()

    (run / "results" / "squares-test-train.json").unlink()
    done = python("-m", "maskmix", "push", str(run), "org/squares-model")
    assert "results/squares-test-train.json" not in hub.tree("models/org/squares-model")
    hub.asked.clear()
    done = python("-m", "maskmix", "push", str(run), "org/squares-model")
    assert done.stdout.strip() == f"{hub.endpoint}/org/squares-model"
    assert hub.puts() == 0
    assert len(repo.commits) == 3


def test_the_card_says_what_it_is_what_it_learnt_from_and_how_good_it_is(run: Path):
    text = write_model_card(run, "org/squares-model").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head == {
        "library_name": "maskmix",
        "pipeline_tag": "image-segmentation",
        "license": "cc0-1.0",
        "tags": ["maskmix", "referring-expression-segmentation", "uniform"],
    }
    facts = json.loads((run / "run.json").read_text())
    assert facts["dataset_licences"] == {"CC0-1.0": 48}
    assert f"| dataset | squares, recipe hash `{facts['dataset_hash']}` |" in text
    assert "CC0-1.0 (48 samples)" in text
    measured = json.loads((run / "results" / "squares-test-train.json").read_text())["overall"]
    row = next(line for line in text.splitlines() if line.startswith("| squares-test-train |"))
    assert row.split(" | ")[1:3] == ["16", f"{measured['giou']:.4f}"]
    assert 'Predictor.from_pretrained("org/squares-model")' in text
    assert "upper bound" not in text
    assert "Frozen parts" not in text
    assert write_model_card(run, "org/squares-model").read_text() == text
    assert "\n\n\n\n" not in text


def test_the_card_owns_up_to_an_oracle_to_frozen_parts_and_to_no_measurement(run: Path):
    for name, more in [
        ("run.json", {"oracle": True}),
        ("model.json", {"frozen": {"image": {"model": "org/sam", "revision": "c" * 40, "licence": "apache-2.0"}}}),
    ]:  # fmt: skip
        facts = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(facts | more))
    shutil.rmtree(run / "results")
    text = write_model_card(run, "m", licence="Weights of Ours").read_text()
    head = yaml.safe_load(text.split("---\n")[1])
    assert (head["license"], head["license_name"]) == ("other", "weights-of-ours")
    assert head["base_model"] == ["org/sam"]
    assert "An upper bound, not a fair result" in text
    assert f"| image | org/sam | `{'c' * 40}` | apache-2.0 |" in text
    assert "It was not measured" in text


@pytest.mark.parametrize(
    ("data", "given", "expected"),
    [
        ({"CC BY 4.0": 3}, None, ("cc-by-4.0", "")),
        ({}, "Apache 2.0", ("apache-2.0", "")),
        ({"CC BY 4.0": 3, "mit": 1}, "mit", ("mit", "")),
        ({"CC BY 4.0": 3, "mit": 1}, None, "is CC BY 4.0, mit"),
        ({"Flickr terms": 3}, None, "is Flickr terms"),
        ({"": 3}, None, "is unknown"),
        ({}, None, "is not recorded"),
    ],
)
def test_a_licence_is_given_or_follows_from_the_data(data: dict, given: str | None, expected):
    if isinstance(expected, tuple):
        assert model_licence({"dataset_licences": data}, given) == expected
        return
    with pytest.raises(ValueError, match=r"give a licence for the weights") as caught:
        model_licence({"dataset_licences": data}, given)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("run.json", {"note": "hf_" + "a" * 30}, r"run\.json holds what looks like a token \(hf_aaa"),
        ("run.json", {"deep": [{"x": "/data/mine/weights.pth"}]}, "the path '/data/mine/weights.pth' of this"),
        ("model.json", {"frozen": {"image": {"model": "org/sam", "revision": "sha256:1", "licence": ""}}},
         r"only this machine has \(image: org/sam\)"),
        ("model.json", {"frozen": {"image": {"model": "./sam", "revision": "c", "licence": ""}}}, "hub ids"),
        ("model.json", {"sha256": "0"}, r"model\.safetensors is not what model\.json says"),
    ],
)  # fmt: skip
def test_what_must_not_be_published_is_refused_before_anything_is_sent(
    run: Path, name: str, more: dict, message: str
):
    facts = json.loads((run / name).read_text())
    (run / name).write_text(json.dumps(facts | more))
    with pytest.raises(ValueError, match=message):
        push_model(run, "org/m", endpoint="http://127.0.0.1:9")


def test_an_unfinished_run_and_a_second_licence_are_refused(run: Path, tmp_path: Path):
    (run / "README.md").write_text("---\nlicense: mit\n---\nmine\n")
    with pytest.raises(ValueError, match="names a licence itself"):
        push_model(run, "org/m", licence="mit", endpoint="http://127.0.0.1:9")
    with pytest.raises(ValueError, match="finished `maskmix fit`"):
        push_model(tmp_path, "org/m")
