"""What experts were asked is counted beside the receipts and never inside them."""

import json

import pytest

from annotators.halt import Halt
from pipeline.build import build
from pipeline.executors.local import run_local
from pipeline.panel import Fault, ask
from pipeline.panel_usage import Tally, read_usage
from pipeline.validate import verify
from tests.e2e.lines import draw_items, job, recipe, tree


def tally() -> Tally:
    return Tally(stage="segment", position=0, expert="little")


def test_answers_abstentions_and_failures_are_told_apart():
    count = tally()

    def call(rows):
        return [["mask"], [], None, ValueError("no"), "verdict"][: len(rows)]

    answers = count.measure(call, [1, 2, 3, 4, 5])
    assert answers[0] == ["mask"]
    taken = count.take()
    assert (taken.asked, taken.answered, taken.abstained, taken.failed) == (5, 2, 2, 1)
    assert taken.batches == 1
    assert taken.seconds >= 0
    assert count.take().asked == 0


def test_a_batch_that_raises_is_counted_row_by_row():
    count = tally()

    def call(rows):
        if "bad" in rows:
            raise RuntimeError("bad row")
        return [["mask"] for _ in rows]

    def measured(rows):
        return count.measure(call, rows)

    answers = ask("little", measured, ["a", "bad", "c"])
    assert [isinstance(a, Fault) for a in answers] == [False, True, False]
    taken = count.take()
    assert (taken.asked, taken.answered, taken.failed, taken.batches) == (3, 2, 1, 4)


def test_a_single_row_that_fails_is_not_asked_again():
    calls = []

    def call(rows):
        calls.append(rows)
        raise RuntimeError("no")

    (answer,) = ask("little", call, ["a"])
    assert isinstance(answer, Fault)
    assert len(calls) == 1


def test_a_halt_passes_and_counts_no_row():
    count = tally()

    def call(rows):
        raise Halt("the budget is spent")

    with pytest.raises(Halt):
        ask("little", lambda rows: count.measure(call, rows), ["a", "b"])
    assert count.take().asked == 0


def test_usage_is_written_per_unit_and_summed_per_expert(tmp_path):
    items = draw_items(tmp_path / "items", 6, {3: "the cursed ball"})
    out = tmp_path / "out"
    build(job(recipe(items, raise_on="cursed"), out), run_local)
    usage, units = read_usage(out, [0, 1])
    assert units == 2
    faulty = next(u for u in usage if u.expert == "fake_faulty")
    assert (faulty.stage, faulty.position) == ("segment", 2)
    assert (faulty.asked, faulty.answered, faulty.failed) == (6, 5, 1)
    assert all(u.asked == u.answered + u.abstained + u.failed for u in usage)
    assert [u.stage for u in usage] == ["rewrite", "ground", "segment", "segment", "segment"]
    assert read_usage(out, [1])[1] == 1


def test_usage_is_no_part_of_the_dataset(tmp_path):
    items = draw_items(tmp_path / "items", 6)
    out = tmp_path / "out"
    build(job(recipe(items), out), run_local)
    before = tree(out)
    for path in (out / "usage").iterdir():
        path.unlink()
    (out / "usage").rmdir()
    assert verify(out).ok
    assert read_usage(out, [0, 1]) == ([], 0)
    build(job(recipe(items), out), run_local)
    assert tree(out) == before
    receipt = json.loads((out / "receipts" / "train-000000.json").read_text())
    assert "seconds" not in json.dumps(receipt)


def test_a_damaged_usage_file_is_named(tmp_path):
    (tmp_path / "usage").mkdir()
    (tmp_path / "usage" / "train-000000.json").write_text("{")
    with pytest.raises(ValueError, match=r"(?s)train-000000\.json is not readable.*delete it"):
        read_usage(tmp_path, [0])
