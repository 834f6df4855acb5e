"""Batch prediction: what single calls give, nothing lost, resumed where it stopped, the same bytes on Ray."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from annotators.masks import decode_rle
from pipeline.reader import iterate_samples
from tests.trainer.use.planted_predictors import bright
from trainer.config import TrainRecipe
from trainer.data.table import decode_image
from trainer.fit import fit
from trainer.use.asked import photo_units, read_instructions
from trainer.use.effects import apply_effect
from trainer.use.many import predict_many
from trainer.use.predictor import Predictor

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def run(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = {
        "name": "test",
        "data": {"size_hw": (16, 24), "batch": 4},
        "model": {"width": 8, "dim": 16, "depth": 1, "heads": 2},
        "optim": {"steps": 2},
    }
    return fit(squares, TrainRecipe.model_validate(raw), out=tmp_path_factory.mktemp("run"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eleven photographs of several sizes, one of them in a folder, and one that is cut."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(10):
        picture = rng.integers(0, 256, (20 + 3 * i, 41 - 2 * i, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"p{i}.png"), picture)
    assert cv2.imwrite(str(folder / "more" / "p0.jpg"), np.full((9, 9, 3), 200, np.uint8))
    (folder / "cut.png").write_bytes((folder / "p1.png").read_bytes()[:100])
    return folder


def rows_of(out: Path) -> list[dict]:
    return pq.read_table(out / "predictions.parquet").to_pylist()


def files_of(out: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(out)): p.read_bytes()
        for p in sorted(out.rglob("*"))
        if p.is_file() and p.name != ".lock"
    }


@pytest.mark.slow
def test_a_folder_gives_what_single_calls_give_and_every_input_is_accounted_for(
    run: Path, photos: Path, tmp_path: Path
):
    out = tmp_path / "out"
    totals = predict_many(run, photos, out=out, instruction="the red square", photos_in_unit=5)
    assert (totals.inputs, totals.predicted) == (12, 11)
    assert totals.rejected == {"image-truncated": 1} or totals.rejected == {"image-corrupt": 1}
    assert json.loads((out / "totals.json").read_text())["inputs"] == 12
    assert [line.split()[-1] for line in totals.lines()] == ["12", "11", "1"]
    reject = json.loads((out / "rejects" / "000000.jsonl").read_text())
    assert reject["image"] == "cut.png"
    predictor = Predictor.from_pretrained(run)
    rows = rows_of(out)
    assert [row["image"] for row in rows] == ["more/p0.jpg", *(f"p{i}.png" for i in range(10))]
    assert len({row["id"] for row in rows}) == 11
    for row in rows:
        read = cv2.imread(str(photos / row["image"]))
        assert read is not None
        p = predictor.predict(np.asarray(read[:, :, ::-1]), "the red square")
        mask = cv2.imread(str(out / row["file"]), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(mask, np.rint(255 * p).astype(np.uint8))
        coded = decode_rle((row["height"], row["width"]), row["counts"])
        assert np.array_equal(coded, p >= predictor.model.threshold)
        assert row["area"] == int(coded.sum())
        assert row["p_max"] == pytest.approx(float(p.max()))


@pytest.mark.slow
def test_a_dataset_brings_its_own_instructions(run: Path, squares: Path, tmp_path: Path):
    out = tmp_path / "out"
    totals = predict_many(run, squares, out=out, threshold=0.4)
    assert (totals.inputs, totals.predicted, totals.rejected) == (48, 48, {})
    predictor = Predictor.from_pretrained(run)
    for sample, row in zip(iterate_samples(squares), rows_of(out), strict=True):
        assert (row["id"], row["instruction"]) == (sample.id, sample.instructions[0])
        p = predictor.predict(decode_image(sample), sample.instructions[0])
        assert np.array_equal(decode_rle(sample.size_hw, row["counts"]), p >= 0.4)
    with pytest.raises(ValueError, match="brings its own instructions"):
        predict_many(run, squares, out=tmp_path / "other", instruction="x")


def test_effects_write_what_a_model_downstream_is_shown(photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    options = {"instruction": "x", "effect": "blur", "crop": True, "threshold": 0.9}
    predict_many(source=photos, out=out, **options, **planted(tmp_path))
    for row in rows_of(out):
        read = cv2.imread(str(photos / row["image"]))
        assert read is not None
        image = np.asarray(read[:, :, ::-1])
        p = image.mean(2).astype(np.float32) / 255
        shown = apply_effect(image, p, effect="blur", threshold=0.9, crop=True)
        seen = cv2.imread(str(out / row["file"]))
        assert seen is not None
        assert row["file"].startswith("shown/000000/")
        assert np.array_equal(seen[:, :, ::-1], shown.image)
        assert (row["x1"], row["y1"], row["x2"], row["y2"]) == shown.box
        assert row["failed_open"] == shown.failed_open


def planted(tmp_path: Path) -> dict:
    """A model that is a folder with nothing to load, and a predictor that needs nothing of it."""
    folder = tmp_path / "weights"
    folder.mkdir(exist_ok=True)
    (folder / "model.json").write_text("{}")
    return {"make": bright, "model": folder}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv"])
def test_a_file_names_photographs_and_instructions_and_its_bad_rows_are_rejected(
    photos: Path, tmp_path: Path, kind: str
):
    pairs = [
        ("p0.png", "the, cup"), ("p0.png", 'a "second" one'), ("p1.png", "  "), ("absent.png", "x"),
        ("../secret.png", "x"), ("more/p0.jpg", "raise"), ("p2.png", "x" * 3000),
    ]  # fmt: skip
    file = tmp_path / f"asked.{kind}"
    write_pairs(file, pairs)
    assert read_instructions(file) == pairs
    out = tmp_path / "out"
    totals = predict_many(source=photos, out=out, instructions=file, **planted(tmp_path))
    assert (totals.inputs, totals.predicted) == (7, 2)
    assert totals.rejected == {
        "image-missing": 1, "image-outside": 1, "instruction-empty": 1, "instruction-too-long": 1,
        "prediction-failed": 1,
    }  # fmt: skip
    assert [(r["id"], r["instruction"]) for r in rows_of(out)] == [
        ("p0-1", "the, cup"), ("p0-2", 'a "second" one'),
    ]  # fmt: skip
    details = [json.loads(x) for x in (out / "rejects/000000.jsonl").read_text().splitlines()]
    assert [d["image"] for d in details] == [image for image, _ in pairs[2:]], "in their order"
    assert "RuntimeError: cannot see that" in details[3]["detail"]


def write_pairs(file: Path, pairs: list[tuple[str, str]]) -> None:
    import csv

    if file.suffix == ".jsonl":
        rows = [json.dumps({"image": image, "instruction": text}) for image, text in pairs]
        file.write_text("\n".join(rows) + "\n")
        return
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="," if file.suffix == ".csv" else "\t")
        writer.writerow(["image", "instruction"])
        writer.writerows(pairs)


def test_answers_have_names_of_their_own(tmp_path: Path):
    for name in ("a.jpg", "a.png", "b.jpg", "b-1.jpg", "Ü.png"):
        (tmp_path / name).touch()
    file = tmp_path / "asked.jsonl"
    write_pairs(file, [(n, "x") for n in ("a.jpg", "a.png", "b.jpg", "b.jpg", "b-1.jpg", "Ü.png")])
    (unit,) = photo_units(tmp_path, instruction=None, file=file)
    ids = [question.id for question in unit.questions]
    assert len(set(ids)) == 6
    assert ids[2:4] == ["b-1", "b-2"]


def test_running_again_goes_on_where_it_stopped_and_does_nothing_twice(
    photos: Path, tmp_path: Path
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    options = {"source": photos, "instruction": "x", "photos_in_unit": 3, **planted(tmp_path)}
    predict_many(out=whole, **options)
    predict_many(out=out, **options)
    assert files_of(out) == files_of(whole)
    # a run that died while it wrote unit 2: a draft, a folder without a receipt, no totals
    (out / "receipts" / "000002.json").unlink()
    (out / "totals.json").unlink()
    (out / "masks" / "000002" / "stale.png").touch()
    (out / "masks" / ".000002.abcdef.tmp").mkdir()
    before = (out / "masks" / "000001" / "p3.png").stat().st_mtime_ns
    told: list[str] = []
    predict_many(out=out, tell=told.append, **options)
    assert told[0] == "12 inputs in 4 units, 9 done before"
    assert files_of(out) == files_of(whole)
    assert (out / "masks" / "000001" / "p3.png").stat().st_mtime_ns == before


def test_a_folder_belongs_to_one_prediction(run: Path, photos: Path, tmp_path: Path):
    options = {"source": photos, "out": tmp_path / "out", **planted(tmp_path)}
    predict_many(instruction="x", **options)
    with pytest.raises(ValueError, match=r"holds another prediction \(asked differ\)"):
        predict_many(instruction="y", **options)
    with pytest.raises(ValueError, match=r"holds another prediction \(threshold differ\)"):
        predict_many(instruction="x", threshold=0.2, **options)
    with pytest.raises(ValueError, match=r"holds another prediction \(weights differ\)"):
        predict_many(instruction="x", **(options | {"model": run}))
    with pytest.raises(ValueError, match="is not empty and holds no prediction"):
        predict_many(instruction="x", **(options | {"out": photos}))
    assert not (photos / "plan.json").exists()
    index = tmp_path / "out" / "index" / "000000.parquet"
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(ValueError, match="is not what its receipt says"):
        predict_many(instruction="x", **options)


def test_what_cannot_be_asked_is_refused_before_anything_is_written(photos: Path, tmp_path: Path):
    options = {"source": photos, "out": tmp_path / "out", **planted(tmp_path)}
    for more, message in [
        ({}, "either one instruction, or a file"),
        ({"instruction": "x", "instructions": tmp_path / "a.csv"}, "either one instruction"),
        ({"instruction": " "}, "instruction-empty"),
        ({"instruction": "x", "crop": True}, "needs an effect"),
        ({"instruction": "x", "threshold": 2.0}, r"expected a number in \[0, 1\]"),
        ({"instruction": "x", "workers": 2}, "are for Ray"),
        ({"instruction": "x", "on": "moon"}, "expected here or ray"),
        ({"instructions": tmp_path / "no.csv"}, "cannot be read"),
        ({"instructions": tmp_path / "no.xls"}, r"expected a \.jsonl"),
        ({"instruction": "x", "source": tmp_path / "nowhere"}, "does not exist"),
        ({"instruction": "x", "model": "no such place"}, "no such file or folder"),
    ]:
        with pytest.raises(ValueError, match=message):
            predict_many(**(options | more))
    (tmp_path / "bad.jsonl").write_text('{"image": "p0.png", "instruction": "x"}\n{"image": 3}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 2: expected texts"):
        predict_many(instructions=tmp_path / "bad.jsonl", **options)
    (tmp_path / "bad.jsonl").write_text("{")
    with pytest.raises(ValueError, match="line 1 is no JSON"):
        predict_many(instructions=tmp_path / "bad.jsonl", **options)
    assert not (tmp_path / "out").exists()


def test_a_model_that_answers_nothing_stops_instead_of_rejecting_everything(
    photos: Path, tmp_path: Path
):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="answered none of 11 photographs"):
        predict_many(source=photos, out=out, instruction="raise", **planted(tmp_path))
    assert not list((out / "receipts").iterdir())
    assert not list((out / "masks").iterdir())


KILLED = """
import sys
from pathlib import Path
from tests.trainer.use.planted_predictors import bright
from trainer.use.many import predict_many
source, out, weights = map(Path, sys.argv[1:])
predict_many(weights, source, out=out, instruction="slow", photos_in_unit=1, make=bright)
"""


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_only_whole_units_and_the_next_finishes_it(
    photos: Path, tmp_path: Path
):
    options = {"source": photos, "instruction": "slow", "photos_in_unit": 1, **planted(tmp_path)}
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(photos), str(out), str(options["model"])],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and len(list(out.glob("receipts/0*.json"))) < 3:
            time.sleep(0.02)
        with pytest.raises(ValueError, match="being filled by another process"):
            predict_many(out=out, **options)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert 3 <= len(list(out.glob("receipts/0*.json"))) < 12
    assert not (out / "totals.json").exists()
    predict_many(out=out, **options)
    predict_many(out=tmp_path / "whole", **options)
    assert files_of(out) == files_of(tmp_path / "whole")


@pytest.mark.ray
def test_ray_gives_the_bytes_of_a_local_run_and_only_the_photograph_that_kills_is_lost(
    run: Path, squares: Path, photos: Path, tmp_path: Path
):
    import ray

    def shards(out: str, **more) -> dict[str, bytes]:
        predict_many(run, squares, out=tmp_path / out, device="cpu", effect="overlay", **more)
        return files_of(tmp_path / out)

    def folder(out: str, **more) -> dict[str, bytes]:
        predict_many(run, photos, out=tmp_path / out, device="cpu", instruction="the red one",
                     photos_in_unit=2, **more)  # fmt: skip
        return files_of(tmp_path / out)

    file = tmp_path / "asked.csv"
    write_pairs(file, [("p0.png", "x"), ("p1.png", "die"), ("p2.png", "x"), ("p3.png", "x")])
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="error")
    try:
        assert shards("s-ray", on="ray", workers=2) == shards("s-local")
        assert folder("f-ray", on="ray", workers=3) == folder("f-local")
        totals = predict_many(
            source=photos, out=tmp_path / "die", instructions=file, on="ray", photos_in_unit=2,
            **planted(tmp_path),
        )  # fmt: skip
        assert (totals.inputs, totals.predicted) == (4, 3)
        assert totals.rejected == {"killed-its-process": 1}
        reject = json.loads((tmp_path / "die" / "rejects" / "000000.jsonl").read_text())
        assert (reject["image"], reject["instruction"]) == ("p1.png", "die")
        with pytest.raises(ValueError, match="holds no"):
            predict_many(photos, photos, out=tmp_path / "no", instruction="x", on="ray", workers=1)
        with pytest.raises(ValueError, match="but the cluster has 0"):
            predict_many(source=photos, out=tmp_path / "gpu", instruction="x", on="ray", gpus=64.0,
                         **planted(tmp_path))  # fmt: skip
    finally:
        ray.shutdown()
