"""One unit: what cannot be written is charged to its sample, and the unit goes on."""

import json
from dataclasses import replace

from pipeline.config import recipe_hash
from pipeline.line import Unit, make_line, resolve
from pipeline.panel_seats import make
from pipeline.shards import read_shard
from pipeline.work import run_unit
from tests.e2e.lines import draw_items, job, recipe


class NoNumber:
    """A text segmenter whose raw score is NaN on phrases that hold "NaN"."""

    name = "no_number"

    def __init__(self, inner):
        self.inner = inner

    def segment_text(self, images, phrases):
        answers = self.inner.segment_text(images, phrases)
        return [
            [
                replace(c, made_by=replace(c.made_by, score_raw=float("nan")))
                if "NaN" in said[c.phrase].text
                else c
                for c in candidates
            ]
            for candidates, said in zip(answers, phrases, strict=True)
        ]


def test_a_sample_that_cannot_be_written_is_quarantined_alone(tmp_path):
    items = draw_items(tmp_path / "in", 4, texts={2: "the NaN ball"})
    raw = recipe(items)
    del raw["stages"]["ground"]
    raw["stages"]["segment"] = {"experts": [{"use": "fake_faulty"}]}
    root = tmp_path / "out"
    for folder in ("shards", "receipts", "rejects"):
        (root / folder).mkdir(parents=True)

    def factory(use):
        expert = make(use)
        return NoNumber(expert) if use.use == "fake_faulty" else expert

    line = make_line(job(raw, root), factory)
    receipt = run_unit(line, Unit(index=0, start=0, stop=4), root)
    assert (receipt.inputs, receipt.committed, receipt.quarantined) == (4, 3, 1)
    shard = read_shard(root / receipt.shard, sha256=receipt.sha256, count=3)
    assert [key for key, _ in shard] == ["s-0000", "s-0001", "s-0003"]
    (said,) = (root / "rejects" / "train-000000.jsonl").read_text().splitlines()
    told = json.loads(said)
    assert (told["sample_id"], told["stage"]) == ("s-0002", "quarantine")
    assert "score_raw is float nan" in told["detail"]


def test_the_seed_of_a_recipe_reaches_every_source_that_draws() -> None:
    raw = {
        "name": "x",
        "seed": 7,
        "source": {
            "kind": "concat",
            "parts": [{"kind": "tabletop"}, {"kind": "tabletop", "seed": 3}, {"kind": "photos"}],
        },
        "stages": {"fuse": {}},
    }
    parts = resolve(raw).source["parts"]
    assert [part.get("seed") for part in parts[:2]] == [7, 3]
    assert recipe_hash(resolve(raw)) != recipe_hash(resolve(raw | {"seed": 8}))
