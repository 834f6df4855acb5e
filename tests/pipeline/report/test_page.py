"""The report: right numbers in the right sections, safe with hostile text, and honest about what is not there."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.records import Reject
from pipeline.report.page import write_report
from tests.pipeline.datasets_for_tests import write_dataset
from tests.pipeline.report.inputs import (
    drawn_sample,
    write_comparison,
    write_discriminator,
    write_learnt,
    write_missingness,
    write_panel,
    write_run,
)

SECTIONS = (
    "funnel", "gallery", "panel", "experts", "trust", "labels", "quality", "discriminator",
    "missingness", "training", "evaluation", "comparison", "failures", "recipe",
)  # fmt: skip
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Page(HTMLParser):
    """Text of every section, every tag with its attributes, and whether tags nest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.sections: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.within = ""
        self.open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "section":
            self.within = attributes.get("id") or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "section":
            self.within = ""

    def handle_data(self, data):
        if self.within:
            self.sections[self.within] = " ".join(
                f"{self.sections.get(self.within, '')} {data}".split()
            )

    def classes(self, name: str) -> int:
        return sum(name in (a.get("class") or "").split() for _, a in self.tags)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """A dataset with gold, rejects, a discriminator, four runs and a comparison."""
    tmp_path = tmp_path_factory.mktemp("report")
    root = tmp_path / "drawn"
    samples = [drawn_sample(n, found=n % 13 != 5) for n in range(26)]
    rejects = [
        Reject(sample_id=f"k-{n}", stage="keep", reason="quality-low", detail="quality 0.21 < 0.35")
        for n in range(5)
    ]
    rejects.append(Reject(sample_id="s-0", stage="source", reason="image-truncated", detail="cut"))
    write_dataset(root, samples, unit_size=8, rejects=rejects, quarantined=2)
    write_discriminator(root, [s.id for s in samples])
    write_learnt(root)
    write_missingness(root)
    write_panel(root)
    runs = [
        write_run(
            tmp_path / f"{method}-{seed}",
            method=method,
            seed=seed,
            dataset="tiny",
            samples=samples[:9],
            giou=0.4,
        )
        for method in ("uniform", "dwsl")
        for seed in (0, 1)
    ]
    compare = write_comparison(
        tmp_path / "compare.json",
        {"uniform": [0.40, 0.42], "dwsl": [0.50, 0.54], "clean-only": [0.6]},
    )
    return Page(write_report(root, runs=runs, compare=compare))


def test_every_section_is_there_and_filled(whole: Page):
    assert tuple(whole.sections) == SECTIONS
    assert whole.classes("none") == 0


def test_the_panel_names_models_coverage_and_cost(whole: Page):
    text = whole.sections["panel"]
    assert "segment wide org/wide a1b2 – mit" in text
    assert "segment wide 34 34 0 0 100 % 92 % 0.70 0.0" in text
    assert "wide 1 0 7 2 0.5" in text
    assert "gives no prices" in text


def test_trust_names_experts_styles_and_what_gold_says(whole: Page):
    text = whole.sections["trust"]
    assert "sam #c0ffee 100 % 0.910 0.970 0.875 0.875" in text
    assert "sam #decaf0 60 % 0.310 0.620 0.250 0.250" in text
    assert "size 45 % 0.520 0.990 – –" in text
    assert "all 4 phrase 16" in text
    assert "size silent 0.50 / 0.99" in text
    assert "falls from 0.412 to 0.041" in text
    assert "cleanlab softmin of the panel's agreement 0.553 -0.066" in text
    assert "calibrated, out of fold 0.726 –" in text


def test_the_funnel_adds_up_and_names_every_way_out(whole: Page):
    text = whole.sections["funnel"]
    assert "34 inputs = 26 committed + 6 rejected + 2 quarantined ✓ nothing lost" in text
    assert "source image-truncated −1 2.9 %" in text
    assert "keep quality-low −5 15 %" in text
    assert "quarantine error −2" in text
    assert (
        text.index("image-truncated") < text.index("quality-low") < text.index("quarantine error")
    )
    assert "of these with gold for training 7 21 %" in text


def test_the_waterfall_ends_where_the_committed_begin(whole: Page):
    bars = [
        a["style"] for tag, a in whole.tags if tag == "i" and "--from" in (a.get("style") or "")
    ]
    lowest = bars[-3]  # quarantine comes last before committed and gold
    assert lowest == f"--from: {26 / 34:.4f}; --share: {2 / 34:.4f}"
    assert bars[-2] == f"--from: 0; --share: {26 / 34:.4f}"


def test_experts_are_measured_as_they_were_drawn(whole: Page):
    text = whole.sections["experts"]
    assert "left 92 %" in text  # two of 26 samples: nobody spoke
    assert "lost 62 %" in text  # and it abstains on every third
    assert "fused label" in text
    assert "best vote (oracle)" in text
    assert "Agreement of pairs" in text


def test_the_gallery_shows_each_kind_with_its_layers(whole: Page):
    text = whole.sections["gallery"]
    for kind in (
        "Best IoU with gold",
        "Worst IoU with gold",
        "Median IoU with gold",
        "No target found",
    ):
        assert kind in text
    cards = whole.classes("card")
    photos = [a["href"] or "" for tag, a in whole.tags if tag == "image"]
    assert len(photos) == cards
    assert all(photo.startswith("data:image/jpeg;base64,") for photo in photos)
    gold = [a for tag, a in whole.tags if tag == "path" and a["class"] == "gold"]
    assert len(gold) == cards  # every drawn sample has gold, and so does every failure


def test_labels_quality_and_discriminator_say_their_numbers(whole: Page):
    assert "every style 26" in whole.sections["labels"]
    assert "AUC over 26" in whole.sections["quality"]
    text = whole.sections["discriminator"]
    for number in ("pu · 5", "0.812", "0.774", "none) –", "weight zero 9 of 26"):
        assert number in text


def test_training_and_evaluation_list_every_run(whole: Page):
    for run in ("uniform · seed 0", "uniform · seed 1", "dwsl · seed 0", "dwsl · seed 1"):
        assert run in whole.sections["training"]
        assert run in whole.sections["evaluation"]
    assert (
        "run samples gIoU cIoU P@.5 P@.9 T-acc uniform · seed 0 9 0.400 0.420 0.300 0.010 1.000"
        in (whole.sections["evaluation"])
    )


def test_the_comparison_has_means_deviations_and_leaves_oracles_aside(whole: Page):
    text = whole.sections["comparison"]
    assert "uniform 2 0.410 ± 0.014" in text
    assert "dwsl 2 0.520 ± 0.028" in text
    assert "clean-only oracle 1 0.600" in text
    assert "Budget: steps 500, batch 24." in text
    assert whole.classes("best") == 2  # gIoU and cIoU of dwsl, not of the better oracle


def test_failures_are_the_worst_of_one_run_per_method(whole: Page):
    text = whole.sections["failures"]
    assert "uniform · seed 0" in text
    assert "dwsl · seed 0" in text
    assert "seed 1" not in text
    assert sum(a.get("class") == "prediction" for tag, a in whole.tags if tag == "path") == 8


def test_the_page_loads_nothing_and_runs_nothing(whole: Page):
    for tag, attributes in whole.tags:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            value = attributes.get(name) or "#"
            assert value.startswith(("#", "data:image/jpeg;base64,")), (tag, value[:60])
    assert any(a.get("http-equiv") == "Content-Security-Policy" for _, a in whole.tags)


def test_hostile_text_stays_text(tmp_path: Path):
    from dataclasses import replace

    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    sample = drawn_sample(0)
    candidates = sample.candidates or ()
    assert sample.phrases
    bad = replace(
        sample,
        instructions=(evil, evil),
        phrases=tuple(replace(p, text=evil, made_by=evil, relation=evil) for p in sample.phrases),
        style=evil,
        source=replace(sample.source, dataset=evil, licence=evil),
        faults=(f"{evil}: {evil}",),
        candidates=tuple(replace(c, made_by=replace(c.made_by, expert=evil)) for c in candidates),
    )
    root = tmp_path / "d"
    write_dataset(
        root, [bad], rejects=[Reject(sample_id=evil, stage="keep", reason="a", detail=evil)]
    )
    run = write_run(tmp_path / "r", method=evil, seed=0, dataset="tiny", samples=[bad], giou=0.1)
    compare = write_comparison(tmp_path / "c.json", {evil: [0.1]})
    path = write_report(root, runs=[run], compare=compare)
    page = Page(path)
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert "<script>alert(1)</script>" in page.sections["gallery"]  # as text, after unescaping
    assert "<script>alert(1)</script>" in page.sections["funnel"]


def test_without_gold_or_runs_each_section_says_what_would_fill_it(tmp_path: Path):
    samples = [drawn_sample(n, gold=False) for n in range(6)]
    write_dataset(tmp_path, samples)
    page = Page(write_report(tmp_path, tmp_path / "out.html"))
    assert tuple(page.sections) == SECTIONS
    assert "Best quality" in page.sections["gallery"]
    assert "no expert can be measured here" in page.sections["experts"]
    assert "labels cannot be measured" in page.sections["labels"]
    assert "needs gold" in page.sections["quality"]
    for section, command in (
        ("discriminator", "maskmix discriminate"),
        ("missingness", "maskmix missingness"),
        ("training", "maskmix fit"),
        ("evaluation", "maskmix evaluate"),
        ("comparison", "maskmix compare"),
        ("failures", "maskmix evaluate"),
    ):
        assert command in page.sections[section]


def test_a_build_that_committed_nothing_is_reported_too(tmp_path: Path):
    rejects = [Reject(sample_id="a", stage="source", reason="image-empty", detail="0 bytes")]
    write_dataset(tmp_path, [], rejects=rejects)
    page = Page(write_report(tmp_path))
    assert "1 inputs = 0 committed + 1 rejected + 0 quarantined" in page.sections["funnel"]
    assert "0 bytes" in page.sections["funnel"]
    assert "nothing to show" in page.sections["gallery"]
    assert "Nothing was committed" in page.sections["recipe"]


def test_a_dataset_without_a_panel_or_scores_is_reported(tmp_path: Path):
    from tests.pipeline.datasets_for_tests import samples

    write_dataset(tmp_path, samples(9))
    page = Page(write_report(tmp_path))
    assert "little" in page.sections["gallery"]
    assert "owl on 3" in page.sections["experts"]


def test_the_same_files_give_the_same_bytes(tmp_path: Path):
    write_dataset(tmp_path, [drawn_sample(n) for n in range(4)])
    first = write_report(tmp_path, tmp_path / "a.html").read_bytes()
    assert write_report(tmp_path, tmp_path / "b.html").read_bytes() == first


def test_rejects_that_receipts_do_not_count_are_pointed_out(tmp_path: Path):
    write_dataset(tmp_path, [drawn_sample(0)])
    line = {"sample_id": "x", "stage": "keep", "reason": "a", "detail": ""}
    (tmp_path / "rejects" / "train-000099.jsonl").write_text(json.dumps(line) + "\n")
    text = Page(write_report(tmp_path)).sections["funnel"]
    assert "rejects/ lists 1 samples, the receipts count 0" in text


def test_an_unfinished_dataset_and_a_missing_run_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no manifest\.json"):
        write_report(tmp_path)
    write_dataset(tmp_path, [drawn_sample(0)])
    with pytest.raises(ValueError, match=r"run\.json"):
        write_report(tmp_path, runs=[tmp_path / "nowhere"])


def test_photographs_of_a_test_set_that_moved_are_said_to_be_missing(tmp_path: Path):
    write_dataset(tmp_path / "train", [drawn_sample(0)])
    run = write_run(
        tmp_path / "run",
        method="dwsl",
        seed=3,
        dataset="gone",
        samples=[drawn_sample(7)],
        giou=0.2,
    )
    text = Page(write_report(tmp_path / "train", runs=[run])).sections["failures"]
    assert "Photographs not found for dwsl · seed 3 on test" in text


@pytest.mark.slow
def test_failures_are_shown_from_a_named_test_set_or_one_of_that_name_beside_the_dataset(
    tmp_path: Path,
):
    held_out = [drawn_sample(7), drawn_sample(8)]
    write_dataset(tmp_path / "train", [drawn_sample(0)])
    write_dataset(tmp_path / "test", held_out)
    beside = write_run(
        tmp_path / "a", method="dwsl", seed=0, dataset="tiny-train", samples=held_out, giou=0.2
    )
    renamed = write_run(
        tmp_path / "b", method="dwsl", seed=0, dataset="other", samples=held_out, giou=0.2
    )
    root = tmp_path / "train"
    assert "number 8" in Page(write_report(root, runs=[beside])).sections["failures"]
    assert "not found" in Page(write_report(root, runs=[renamed])).sections["failures"]
    given = Page(write_report(root, runs=[renamed], tests=[tmp_path / "test"]))
    assert "number 8" in given.sections["failures"]


def test_a_comparison_brings_the_runs_beside_it_in_the_order_of_its_table(tmp_path: Path):
    samples = [drawn_sample(n) for n in range(3)]
    write_dataset(tmp_path / "train", samples)
    for method, seed in (("dwsl", 0), ("uniform", 10), ("uniform", 2), ("stranger", 0)):
        write_run(
            tmp_path / "cmp" / f"{method}-{seed}",
            method=method,
            seed=seed,
            dataset="tiny",
            samples=samples,
            giou=0.2,
        )
    compare = write_comparison(
        tmp_path / "cmp" / "compare.json", {"uniform": [0.4, 0.4], "dwsl": [0.5]}
    )
    text = Page(write_report(tmp_path / "train", compare=compare)).sections["training"]
    places = [text.index(name) for name in ("uniform · seed 2", "uniform · seed 10", "dwsl")]
    assert places == sorted(places)
    assert "stranger" not in text
    assert "uniform · seed 2 500" in text
