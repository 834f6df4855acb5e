"""The grounder that is asked in words, against a server: boxes where they belong, bad replies that cost the row."""

import json

import numpy as np
import pytest

from annotators.candidate import Provenance
from annotators.chat.json_reader import UnreadableReply
from annotators.chat.prompts import BOX, BOX_THOUSAND
from annotators.ledger import Ledger, Limits
from annotators.phrase import Phrase
from annotators.protocols import Grounder, Payer
from annotators.registry import make_expert
from tests.annotators.chat.garbage import everywhere, of_text
from tests.annotators.chat.scripted_server import MODEL
from tests.annotators.chat.scripts import SCRIPTS, Reply, always
from tests.annotators.chat.serving import data_of, saying, served

SIZES = ((100, 200), (201, 100), (64, 64))
LANDSCAPE, PORTRAIT, SQUARE = (np.zeros((*size, 3), np.uint8) for size in SIZES)


def phrases(*texts, role="simplified"):
    return [Phrase(text=text, role=role, made_by="test") for text in texts]


def boxes(*found):
    return json.dumps({"boxes": [{"box": box, "score": score} for box, score in found]})


def test_it_has_the_roles_and_the_name():
    expert = make_expert("vlm_box", {})
    assert expert.name == "vlm_box"
    assert isinstance(expert, Grounder)
    assert isinstance(expert, Payer)


def test_boxes_are_undone_from_the_square_and_say_where_they_came_from(monkeypatch, tmp_path):
    expert = make_expert("vlm_box", {})
    script = always(Reply(text=boxes(([0.25, 0.5, 0.75, 0.6], 0.8), ([0, 0.26, 1, 0.8], 0.1))))
    with served(monkeypatch, tmp_path, script):
        landscape, square = expert.ground([LANDSCAPE, SQUARE], [phrases("the mug")] * 2)
    assert [p.box for p in landscape] == [
        pytest.approx((50.0, 50.0, 150.0, 70.0)),
        pytest.approx((0.0, 2.0, 200.0, 100.0)),
    ]
    assert square[0].box == pytest.approx((16.0, 32.0, 48.0, 38.4))
    assert [(p.phrase, p.score) for p in landscape] == [(0, 0.8), (0, 0.1)]
    assert landscape[0].made_by == Provenance(
        expert="vlm_box",
        model=MODEL,
        prompt_version=BOX.version,
        score_raw=0.8,
        config_hash=expert.config_hash,
    )


def test_the_model_is_shown_the_square(monkeypatch, tmp_path):
    import base64

    import cv2

    with served(monkeypatch, tmp_path) as server:
        make_expert("vlm_box", {}).ground([LANDSCAPE], [phrases("the mug")])
    (url,) = server.seen[0].images
    data = np.frombuffer(base64.b64decode(url.partition(",")[2]), np.uint8)
    shown = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert shown.shape == (200, 200, 3)
    assert abs(shown[:, 100, 0].astype(int) - 104)[[5, 40, 160, 195]].max() < 12  # bars
    assert shown[70:130, 100].max() < 12  # the photograph


def test_models_that_count_to_a_thousand_are_asked_so(monkeypatch, tmp_path):
    expert = make_expert("vlm_box", {"grid": 1000})
    with served(
        monkeypatch, tmp_path, always(Reply(text=boxes(([250, 500, 750, 600], 1))))
    ) as server:
        (row,) = expert.ground([LANDSCAPE], [phrases("the mug")])
    assert row[0].box == pytest.approx((50.0, 50.0, 150.0, 70.0))
    assert row[0].made_by.prompt_version == BOX_THOUSAND.version
    assert "[0, 0, 1000, 1000]" in server.seen[0].body["messages"][0]["content"]


def test_each_phrase_is_a_question_up_to_the_limit(monkeypatch, tmp_path):
    expert = make_expert("vlm_box", {"max_phrases": 2})
    ledger = Ledger(tmp_path / "ledger.jsonl", Limits())
    expert.bill(ledger)
    with served(
        monkeypatch, tmp_path, always(Reply(text=boxes(([0.4, 0.4, 0.6, 0.6], 1))))
    ) as server:
        (row,) = expert.ground([PORTRAIT], [phrases("a", "b", "c")])
    assert sorted(data_of(seen)["phrase"] for seen in server.seen) == ["a", "b"]
    assert [p.phrase for p in row] == [0, 1]
    assert ledger.totals()["vlm_box"].calls == 2


def test_no_phrases_absent_ones_and_no_boxes_are_abstentions(monkeypatch, tmp_path):
    expert = make_expert("vlm_box", {})
    with served(monkeypatch, tmp_path, always(Reply(text=boxes()))) as server:
        answers = expert.ground(
            [SQUARE] * 3, [[], phrases("a ghost", role="absent"), phrases("the mug")]
        )
        assert expert.ground([], []) == []
    assert answers == [[], [], []]
    assert len(server.seen) == 1


def test_a_batch_of_mixed_sizes_gives_what_single_calls_give(monkeypatch, tmp_path):
    expert = make_expert("vlm_box", {"cache": False})
    images, texts = [LANDSCAPE, PORTRAIT, SQUARE], [phrases("a", "b"), phrases("c"), phrases("d")]
    with served(monkeypatch, tmp_path):
        batch = expert.ground(images, texts)
        singles = [expert.ground([i], [t])[0] for i, t in zip(images, texts, strict=True)]
    assert [repr(row) for row in batch] == [repr(row) for row in singles]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (boxes(([0, 0, 1, 0.2], 0.9)), "bars beside the photograph"),
        (boxes(([10, 20, 30, 40], 0.9)), "leaves the picture"),
        (boxes(([0.5, 0.5, 0.5, 0.6], 0.9)), "is empty"),
        (boxes(*[([0.3, 0.4, 0.6, 0.7], 0.9)] * 11), "11 boxes; expected at most 10"),
        (boxes(([0.3, 0.4, 0.6, 0.7], 90)), "score is 90"),
    ],
)
def test_a_box_that_cannot_be_costs_the_row_alone(reply, why, monkeypatch, tmp_path):
    expert = make_expert("vlm_box", {})
    fine = boxes(([0.3, 0.4, 0.6, 0.7], 0.9))
    with served(monkeypatch, tmp_path, saying({"bad": reply, "fine": fine})):
        answers = expert.ground([LANDSCAPE] * 2, [phrases("fine", "bad"), phrases("fine")])
    assert isinstance(answers[0], UnreadableReply)
    assert why in str(answers[0])
    assert len(answers[1]) == 1


def test_hostile_replies_are_lost_votes(monkeypatch, tmp_path):
    expert = make_expert("vlm_box", {})
    with served(monkeypatch, tmp_path, SCRIPTS["hostile"]) as server:
        answers = expert.ground([SQUARE] * 2, [phrases("a"), phrases("b")])
    assert [type(row) for row in answers] == [UnreadableReply] * 2
    assert len(server.seen) == 4


@pytest.mark.slow
def test_of_the_whole_corpus_of_garbage_no_box_is_made(monkeypatch, tmp_path):
    garbage = sorted(
        {reply for kind, reply in [*everywhere(), *of_text()] if kind == "boxes"} - {""}
    )
    expert = make_expert("vlm_box", {"concurrency": 16})
    with served(
        monkeypatch, tmp_path, lambda seen: Reply(text=garbage[int(data_of(seen)["phrase"])])
    ):
        answers = expert.ground(
            [SQUARE] * len(garbage), [phrases(str(i)) for i in range(len(garbage))]
        )
    assert len(garbage) > 200
    assert all(isinstance(row, Exception) for row in answers)


def test_options_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"grid 100; expected one of \[1, 1000\]"):
        make_expert("vlm_box", {"grid": 100})
    with pytest.raises(ValueError, match="max_phrases 0"):
        make_expert("vlm_box", {"max_phrases": 0})


def test_its_identity_names_model_and_prompt(monkeypatch, tmp_path):
    with served(monkeypatch, tmp_path):
        identity = make_expert("vlm_box", {}).identity
    assert (identity.expert, identity.model, identity.prompt_version) == (
        "vlm_box",
        MODEL,
        BOX.version,
    )
