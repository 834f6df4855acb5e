"""Whole runs against a scripted model: exact tables, nothing lost, nothing asked twice."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from annotators.halt import Halt
from tests.annotators.chat.scripted_server import ScriptedServer
from tests.annotators.chat.scripts import Action, Reply, Seen, Status
from tests.trainer.vqa.conftest import (
    LEFT,
    answering,
    colour_seen,
    draw,
    egothink_folder,
    picture_of,
    pope_file,
    the_letter,
    vstar_folder,
)
from trainer.vqa.asking import Masking
from trainer.vqa.bench import Judge, run_bench
from trainer.vqa.score import Mark, yes_no
from trainer.vqa.setup import open_endpoint


def asker_of(server: ScriptedServer, profile: str = "vqa", **options: Any) -> Any:
    return open_endpoint(profile, url=server.base_url, model="scripted", **options)


def test_a_model_that_is_right_only_where_the_distractor_is_hidden_gains_everything(tmp_path: Path):
    folder = vstar_folder(tmp_path / "v")
    with ScriptedServer(answering(the_letter)) as server:
        found = run_bench(
            [folder], format="vstar", asker=asker_of(server), masking=LEFT, masker="ivm", out=tmp_path / "o"
        )  # fmt: skip
    assert found["table"].splitlines() == [
        "model          Attribute   Spatial   Overall    asked unparsed   failed",
        "scripted             0.0       0.0       0.0        6        0        0",
        "ivm + scripted     100.0     100.0     100.0        6        0        0",
        "gain              +100.0    +100.0    +100.0",
    ]
    assert (tmp_path / "o" / "table.txt").read_text() == found["table"]
    assert json.loads((tmp_path / "o" / "results.json").read_text()) == found
    assert len(server.seen) == 12
    assert all("response_format" not in seen.body for seen in server.seen)
    assert all(len(seen.body["messages"]) == 1 for seen in server.seen), "no system text of ours"
    sizes = {picture_of(seen).shape[:2] for seen in server.seen}
    assert (96, 128) in sizes, "the whole image is sent as it is"
    assert len(sizes) == 2, "the masked one is cropped"


def test_the_masked_view_is_the_effect_and_fails_open_in_the_open(tmp_path: Path):
    folder = vstar_folder(tmp_path / "v", 1)

    def nothing(image: np.ndarray, about: str) -> np.ndarray:
        return np.zeros(image.shape[:2], np.float32)

    masking = Masking(predict=nothing, effect="grayscale")
    with ScriptedServer(answering(the_letter)) as server:
        asker = asker_of(server)
        found = run_bench(
            [folder], format="vstar", asker=asker, masking=masking, out=tmp_path / "o"
        )
    assert found["failed_open"] == 2
    assert len(server.seen) == 2, "the same picture and words are asked about once"
    assert [row["overall"] for row in found["rows"].values()] == [0.0, 0.0]


def test_pope_s_numbers_are_those_of_sklearn(tmp_path: Path):
    rng = np.random.default_rng(0)
    labels = rng.choice(["yes", "no"], 200)
    said = np.where(rng.random(200) < 0.7, labels, rng.choice(["yes", "no"], 200))
    marks = [
        Mark(group="random", state="read", label=str(a), said=str(b), published=str(b))
        for a, b in zip(labels, said, strict=True)
    ]
    numbers = yes_no(marks)
    options: Any = {"pos_label": "yes"}
    assert numbers["accuracy"] == pytest.approx(accuracy_score(labels, said))
    assert numbers["precision"] == pytest.approx(precision_score(labels, said, **options))
    assert numbers["recall"] == pytest.approx(recall_score(labels, said, **options))
    assert numbers["f1"] == pytest.approx(f1_score(labels, said, **options))
    assert numbers["yes_ratio"] == pytest.approx((said == "yes").mean())
    assert numbers["published"] == {key: numbers[key] for key in numbers["published"]}


def test_an_answer_that_is_none_is_right_for_nobody(tmp_path: Path):
    marks = [
        Mark(group="r", state="read", label="yes", said="yes", published="yes"),
        Mark(group="r", state="unparsed", label="yes", published="yes"),
        Mark(group="r", state="failed", label="no"),
        Mark(group="r", state="read", label="no", said="no", published="no"),
    ]
    numbers = yes_no(marks)
    assert (numbers["accuracy"], numbers["recall"], numbers["yes_ratio"]) == (0.5, 0.5, 0.25)
    assert numbers["published"]["accuracy"] == 1.0, "the published rule takes it for a yes"
    assert (numbers["asked"], numbers["read"], numbers["unparsed"], numbers["failed"]) == (4, 2, 1, 1)  # fmt: skip
    nobody = yes_no([Mark(group="r", state="read", label="no", said="no", published="no")])
    assert (nobody["precision"], nobody["recall"], nobody["f1"]) == (None, None, None)


def test_pope_prints_a_row_for_each_setting_with_and_without_masking(tmp_path: Path):
    files = [pope_file(tmp_path, name, 3) for name in ("random", "adversarial")]

    def says(seen: Seen) -> str:
        return "Yes." if colour_seen(seen) in seen.user else "No, there is none."

    with ScriptedServer(answering(says)) as server:
        found = run_bench(
            files, format="pope", asker=asker_of(server), masking=LEFT, masker="ivm",
            images=tmp_path / "val2014", out=tmp_path / "o",
        )  # fmt: skip
    rows = found["table"].splitlines()
    assert " ".join(rows[0].split()[2:]) == "Accuracy Precision Recall F1 Yes asked unparsed failed"
    assert [row.split()[0] for row in rows[1:]] == ["random", "random", "adversarial", "adversarial"]  # fmt: skip
    assert rows[1].split()[2:] == ["0.00", "0.00", "0.00", "0.00", "50.00", "6", "0", "0"]
    assert rows[2].split()[4:] == ["100.00", "100.00", "100.00", "100.00", "50.00", "6", "0", "0"]


def test_open_answers_are_graded_by_the_judge_at_its_own_address(tmp_path: Path):
    root = egothink_folder(tmp_path / "e", ("Activity", "Object/existence"))

    def grades(seen: Seen) -> str:
        reference = seen.user.partition("<reference>\n")[2].partition(".")[0]
        given = seen.user.partition("<given>\n")[2].partition("\n")[0]
        return f"Seen. [[{1 if given == reference else 0.5 if given == 'red' else 0}]]"

    with ScriptedServer(answering(colour_seen)) as model, ScriptedServer(answering(grades)) as judge:  # fmt: skip
        found = run_bench(
            [root], format="egothink", asker=asker_of(model), masking=LEFT, masker="ivm",
            judge=Judge(asker=asker_of(judge, "judge")), out=tmp_path / "o",
        )  # fmt: skip
    assert len(model.seen) == 6, "both dimensions show the same pictures"
    assert len(judge.seen) == 6, "equal questions with equal answers are graded once"
    assert all(not seen.images for seen in judge.seen)
    whole, masked = found["rows"]["scripted"], found["rows"]["ivm + scripted"]
    partly = pytest.approx(0.5 / 3)
    assert whole["groups"] == {"Activity": partly, "Object/existence": partly}
    assert masked["average"] == 1.0
    header = " ".join(found["table"].splitlines()[0].split())
    assert header == "model Activity Object/existence Average asked unparsed failed"


def test_a_judge_is_for_open_answers_and_needed_for_them(tmp_path: Path):
    root = egothink_folder(tmp_path / "e", ("Activity",), 1)
    with ScriptedServer(answering(colour_seen)) as server:
        with pytest.raises(ValueError, match="EgoThink needs one"):
            run_bench([root], format="egothink", asker=asker_of(server), out=tmp_path / "o")
        judge = Judge(asker=asker_of(server, "judge"))
        folder = vstar_folder(tmp_path / "v")
        with pytest.raises(ValueError, match="the others have none"):
            run_bench([folder], format="vstar", asker=judge.asker, judge=judge, out=tmp_path / "o")
    assert server.seen == []


def test_what_fails_is_counted_and_named_and_asked_again_by_the_next_run(tmp_path: Path):
    folder = vstar_folder(tmp_path / "v", 2)
    (folder / "direct_attributes" / "sa_1.jpg").write_bytes(b"no image")
    sick = True

    def script(seen: Seen) -> Action:
        if sick and "square 1" in seen.user:
            return Reply(text=None, extra={"refusal": "I will not"})
        return Reply(text="Hm, hard to say." if "square 0" in seen.user else the_letter(seen))

    options: Any = {"format": "vstar", "out": tmp_path / "o"}
    with ScriptedServer(script) as server:
        found = run_bench([folder], asker=asker_of(server), **options)
        row = found["rows"]["scripted"]
        assert (row["asked"], row["read"], row["unparsed"], row["failed"]) == (4, 0, 2, 2)
        whys = {f["key"]: f["why"] for f in found["failures"]}
        assert "sa_1.jpg" in whys["whole/direct_attributes/sa_1"]
        assert "declines: I will not" in whys["whole/relative_position/sa_1"]
        sick, asked = False, len(server.seen)
        draw(folder / "direct_attributes" / "sa_1.jpg", "red", "blue")
        found = run_bench([folder], asker=asker_of(server), **options)
        assert found["failures"] == []
        assert len(server.seen) == asked + 2, "only what had failed"


@pytest.mark.slow
def test_a_run_that_was_cut_goes_on_and_asks_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = vstar_folder(tmp_path / "v", 12)
    open_for = 40

    def script(seen: Seen) -> Action:
        return Reply(text=the_letter(seen)) if seen.number < open_for else Status(code=401)

    options: Any = {"format": "vstar", "masking": LEFT, "masker": "m", "out": tmp_path / "o"}
    with ScriptedServer(script) as server:
        with pytest.raises(Halt, match="refuses the key"):
            run_bench([folder], asker=asker_of(server, concurrency=1), **options)
        kept = (tmp_path / "o" / "answers.jsonl").read_text().splitlines()
        assert len(kept) == 32
        assert not (tmp_path / "o" / "results.json").exists()
        with (tmp_path / "o" / "answers.jsonl").open("a") as file:
            file.write('{"key": "whole/dir')  # a line that a kill cut off
        open_for = 1000
        found = run_bench([folder], asker=asker_of(server, concurrency=1), **options)
        answered = [seen.question for seen in server.answered()]
        assert len(answered) == len(set(answered)) == 48
        monkeypatch.setenv("MASKMIX_HOME", str(tmp_path / "another"))
        assert run_bench([folder], asker=asker_of(server), **options) == found
        assert len(server.answered()) == 48, "answers are in the folder, not in the cache alone"
    with ScriptedServer(answering(the_letter)) as server:
        fresh = run_bench([folder], asker=asker_of(server), **{**options, "out": tmp_path / "p"})
    assert fresh == found


def test_a_folder_holds_one_plan(tmp_path: Path):
    folder = vstar_folder(tmp_path / "v", 1)
    with ScriptedServer(answering(the_letter)) as server:
        asker = asker_of(server)
        run_bench([folder], format="vstar", asker=asker, out=tmp_path / "o")
        with pytest.raises(
            ValueError, match=r"another plan \(masker '', now 'm'.*give another --out"
        ):
            run_bench([folder], format="vstar", asker=asker, masking=LEFT, masker="m", out=tmp_path / "o")  # fmt: skip
        with pytest.raises(ValueError, match=r"another plan \(questions"):
            run_bench([folder], format="vstar", asker=asker, limit=1, out=tmp_path / "o")
    (tmp_path / "o" / "answers.jsonl").write_text("no json\n")
    with pytest.raises(ValueError, match=r"answers\.jsonl line 1 is damaged"):
        run_bench([folder], format="vstar", asker=asker, out=tmp_path / "o")


def test_an_endpoint_that_is_down_stops_the_run_and_one_that_is_not_named_does_not_begin_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = vstar_folder(tmp_path / "v", 1)
    server = ScriptedServer(answering(the_letter)).start()
    asker = asker_of(server, patience=0.2)
    server.stop()
    with pytest.raises(Halt, match="run the same command again"):
        run_bench([folder], format="vstar", asker=asker, out=tmp_path / "o")
    server.start()
    assert run_bench([folder], format="vstar", asker=asker, out=tmp_path / "o")["failures"] == []
    server.stop()
    with pytest.raises(ValueError, match="MASKMIX_VQA_BASE_URL"):
        open_endpoint("vqa", model="m")
    monkeypatch.delenv("MASKMIX_VQA_API_KEY")
    with pytest.raises(ValueError, match="MASKMIX_VQA_API_KEY"):
        open_endpoint("vqa", url="http://127.0.0.1:9/v1", model="m")


def test_a_limit_of_calls_stops_the_run_and_a_higher_one_goes_on(tmp_path: Path):
    folder = vstar_folder(tmp_path / "v", 2)
    options: Any = {"format": "vstar", "out": tmp_path / "o"}
    with ScriptedServer(answering(the_letter)) as server:
        spending = tmp_path / "o" / "spending.jsonl"
        with pytest.raises(Halt):
            run_bench([folder], asker=asker_of(server, spending=spending, most_calls=3), **options)
        assert len(server.seen) == 3
        run_bench([folder], asker=asker_of(server, spending=spending, most_calls=4), **options)
        assert len(server.seen) == 4
