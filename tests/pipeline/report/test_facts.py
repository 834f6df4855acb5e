"""What is counted for a report, against drawings whose numbers are known; what is shown, and what is read back."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotators.label import Label
from annotators.masks import encode_mask
from pipeline.records import Candidate, Provenance, Sample
from pipeline.report.facts import auc, count, fetch, gather, iou
from pipeline.report.gallery import SIDE, choose, outline, prediction_card, sample_card
from pipeline.report.runs import read_comparison, read_lines, read_predictions, read_run
from tests.pipeline.datasets_for_tests import bare_sample, write_dataset
from tests.pipeline.report.inputs import drawn_sample, write_comparison


def square(x: int, width: int) -> np.ndarray:
    mask = np.zeros((48, 64), bool)
    mask[10:20, x : x + width] = True
    return mask


def voted(*votes: tuple[str, str, np.ndarray]) -> Sample:
    """A sample whose gold and label are a 20-px-wide square and whose experts voted `(name, config, mask)`."""
    sample = drawn_sample(0)
    candidates = tuple(
        Candidate(
            mask=encode_mask(mask),
            phrase=0,
            proposal=None,
            mask_score=0.5,
            stability=1.0,
            made_by=Provenance(expert=name, config_hash=config),
        )
        for name, config, mask in votes
    )
    truth = square(10, 20)
    label = Label(mask=truth.astype(np.uint8) * 255, kind="binary", members=(), rule="best")
    return replace(
        sample, candidates=candidates, gold=encode_mask(truth), label=label, style="phrase"
    )


def test_experts_are_compared_with_label_gold_and_each_other():
    half, shifted = square(10, 10), square(20, 20)
    facts = count([voted(("half", "", half), ("shifted", "", shifted))], total=1)
    by_name = {e.name: e for e in facts.experts}
    assert by_name["half"].with_gold.value == pytest.approx(0.5)
    assert by_name["shifted"].with_gold.value == pytest.approx(10 / 30)
    assert by_name["half"].with_label.value == pytest.approx(0.5)
    assert by_name["half"].by_style["phrase"].n == 1
    assert facts.agreement["half", "shifted"].value == 0.0
    assert facts.samples[0].label_iou == 1.0
    assert facts.samples[0].best_iou == pytest.approx(0.5)


def test_an_expert_on_the_panel_twice_is_told_apart_by_its_options():
    sample = voted(("owl", "aaaaaaaa", square(10, 20)), ("owl", "bbbbbbbb", square(10, 10)))
    facts = count([sample], total=1)
    assert [e.name for e in facts.experts] == ["owl #aaaaaa", "owl #bbbbbb"]
    assert facts.agreement["owl #aaaaaa", "owl #bbbbbb"].value == pytest.approx(0.5)


def test_a_segmenter_behind_two_grounders_is_two_voters_that_each_spoke_once():
    sample = voted(("sam", "s", square(10, 20)), ("sam", "s", square(10, 10)))
    one, two = sample.candidates or ()
    pair = (replace(one, boxed_by="dino@1"), replace(two, boxed_by="owl@2"))
    facts = count([replace(sample, candidates=pair)], total=1)
    assert [(e.name, e.spoke, e.candidates) for e in facts.experts] == [
        ("sam < dino", 1, 1), ("sam < owl", 1, 1),
    ]  # fmt: skip


def test_a_sample_without_candidates_or_gold_counts_as_seen_and_no_more():
    facts = count([bare_sample(0)], total=1)
    (fact,) = facts.samples
    assert (fact.empty, fact.label_iou, fact.best_iou, fact.quality) == (True, None, None, None)
    assert not facts.experts


def test_a_large_dataset_is_counted_on_every_nth_sample(tmp_path: Path):
    write_dataset(tmp_path, [drawn_sample(n) for n in range(10)], unit_size=3)
    facts = gather(tmp_path, at_most=4)
    assert [f.id for f in facts.samples] == [f"drawn-{n:04d}" for n in (0, 3, 6, 9)]
    assert (facts.seen, facts.total) == (4, 10)


def test_fetch_finds_what_there_is_and_leaves_out_what_there_is_not(tmp_path: Path):
    write_dataset(tmp_path, [drawn_sample(n) for n in range(5)], unit_size=2)
    found = fetch(tmp_path, ["drawn-0003", "drawn-0000", "drawn-9999"])
    assert sorted(found) == ["drawn-0000", "drawn-0003"]
    assert found["drawn-0003"].id == "drawn-0003"


def test_two_empty_masks_agree():
    nothing = np.zeros((3, 3), bool)
    assert iou(nothing, nothing) == 1.0
    assert iou(nothing, ~nothing) == 0.0


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    scores, good = rng.integers(0, 9, 60).tolist(), (rng.random(60) < 0.4).tolist()
    ups = [s for s, g in zip(scores, good, strict=True) if g]
    downs = [s for s, g in zip(scores, good, strict=True) if not g]
    pairs = [(u > d) + 0.5 * (u == d) for u in ups for d in downs]
    assert auc(scores, good) == pytest.approx(sum(pairs) / len(pairs))
    assert auc([0.3], [True]) is None


def test_the_gallery_takes_best_and_worst_once_and_spreads_over_photographs():
    facts = count([drawn_sample(n, found=n % 13 != 5) for n in range(40)], total=40)
    choices = choose(facts.samples)
    assert len({c.id for c in choices}) == len(choices) <= 24
    iou_of = {f.id: f.label_iou for f in facts.samples if not f.empty}
    best = [iou_of[c.id] for c in choices if c.why == "best IoU with gold"]
    assert best == sorted(iou_of.values(), reverse=True)[:4]
    worst = [iou_of[c.id] for c in choices if c.why == "worst IoU with gold"]
    assert worst == sorted(iou_of.values())[:4]
    same = [replace(f, image="one photograph") for f in facts.samples]
    assert len([c for c in choose(same) if c.why == "best IoU with gold"]) == 1


def test_a_trusted_and_wrong_label_is_shown_as_such():
    facts = count([drawn_sample(n) for n in range(6)], total=6).samples
    bad = replace(facts[2], label_iou=0.05, quality=0.95)
    choices = choose([*facts[:2], bad, *facts[3:]], per_kind=1)
    assert {c.why: c.id for c in choices}["trusted and wrong"] == bad.id


def test_an_outline_goes_round_the_mask_and_its_hole_at_scale():
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:40] = True
    mask[15:25, 25:35] = False
    path = outline(mask, 0.5)
    assert path.count("M") == path.count("Z") == 2
    numbers = [float(v) for v in path.replace("M", " ").replace("L", " ").replace("Z", " ").split()]
    assert min(numbers[::2]) == pytest.approx(10, abs=0.6)
    assert max(numbers[::2]) == pytest.approx(20, abs=0.6)
    assert outline(np.zeros((4, 4), bool), 1.0) == ""


def test_a_card_is_no_larger_than_it_need_be():
    card = sample_card(drawn_sample(1, size_hw=(900, 600)), "best")
    assert (card.height, card.width) == (SIDE, round(600 * SIDE / 900))
    assert len(card.uri) < 60_000
    assert {layer.kind for layer in card.layers} == {"candidate", "label", "gold"}


def test_a_prediction_of_another_size_is_refused():
    with pytest.raises(ValueError, match="belong to another dataset"):
        prediction_card(drawn_sample(0), np.ones((5, 5), bool), 0.0, "run")


def test_a_log_that_is_still_being_written_is_read_to_its_last_whole_line(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    assert read_lines(path) == [{"step": 1}, {"step": 2}]
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read_lines(path)
    assert read_lines(tmp_path / "absent.jsonl") == []


def test_a_curve_skips_what_is_no_number(tmp_path: Path):
    (tmp_path / "run.json").write_text('{"method": "dwsl", "seed": 0}')
    lines = [{"step": 0, "loss": None}, {"step": 1, "loss": float("nan")}, {"step": 2, "loss": 0.5}]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = read_run(tmp_path)
    assert run.name == "dwsl · seed 0"
    assert run.curve("loss") == [(2.0, 0.5)]


def test_the_worst_predictions_come_first_and_ties_by_id(tmp_path: Path):
    counts = encode_mask(square(0, 5)).counts
    rows = [
        {"sample_id": name, "iou": value, "height": 48, "width": 64, "counts": counts}
        for name, value in (("b", 0.2), ("a", 0.2), ("c", 0.1), ("d", 0.9))
    ]
    path = tmp_path / "test.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    worst = read_predictions(path, 3)
    assert [(name, value) for name, value, _ in worst] == [("c", 0.1), ("a", 0.2), ("b", 0.2)]
    assert np.array_equal(worst[0][2], square(0, 5))
    (tmp_path / "bad.parquet").write_bytes(b"not a table")
    with pytest.raises(ValueError, match="not a table of predictions"):
        read_predictions(tmp_path / "bad.parquet", 3)


def test_a_comparison_without_rows_is_refused(tmp_path: Path):
    path = write_comparison(tmp_path / "c.json", {"a": [0.5]})
    assert read_comparison(path).methods[0].cells["giou"].sd is None
    path.write_text('{"rows": [{"seed": 1}]}')
    with pytest.raises(ValueError, match="rows with a method"):
        read_comparison(path)


def test_nobody_is_best_where_all_are_equal_and_oracles_never_are(tmp_path: Path):
    path = write_comparison(tmp_path / "c.json", {"a": [0.5], "b": [0.5], "clean-only": [0.9]})
    assert not any(m.cells["giou"].best for m in read_comparison(path).methods)
    write_comparison(path, {"a": [0.5], "b": [0.6], "clean-only": [0.9]})
    best = [m.name for m in read_comparison(path).methods if m.cells["giou"].best]
    assert best == ["b"]


def test_a_prediction_that_is_empty_says_so():
    sample = drawn_sample(0)
    nothing = np.zeros(sample.size_hw, bool)
    assert prediction_card(sample, nothing, 0.0, "run").note == "predicted nothing"
    assert prediction_card(sample, ~nothing, 0.1, "run").note == ""
