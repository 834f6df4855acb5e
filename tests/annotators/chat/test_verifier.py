"""The verifier against a server, and how a mask is drawn for it."""

import json

import numpy as np
import pytest

from annotators.chat.json_reader import UnreadableReply
from annotators.chat.prompts import VERIFY
from annotators.chat.shown_mask import LINE, show_mask
from annotators.ledger import Ledger, Limits
from annotators.protocols import Payer, Verdict, Verifier
from annotators.registry import make_expert
from tests.annotators.chat.scripted_server import MODEL
from tests.annotators.chat.scripts import SCRIPTS, Reply, always
from tests.annotators.chat.serving import data_of, saying, served

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
MASK = np.zeros((60, 80), bool)
MASK[20:40, 30:50] = True
GOOD = Reply(text=json.dumps({"validity": 0.75, "exhaustivity": 0.5}))


@pytest.fixture
def verifier():
    return make_expert("vlm_verifier", {})


def test_it_has_the_roles_and_the_name(verifier):
    assert verifier.name == "vlm_verifier"
    assert isinstance(verifier, Verifier)
    assert isinstance(verifier, Payer)


def test_masks_become_verdicts(verifier, monkeypatch, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl", Limits())
    verifier.bill(ledger)
    with served(monkeypatch, tmp_path, always(GOOD)) as server:
        answers = verifier.verify([IMAGE], [["the mug", "grab the mug"]], [MASK])
    assert answers == [Verdict(validity=0.75, exhaustivity=0.5)]
    assert data_of(server.seen[0]) == {"instructions": ["the mug", "grab the mug"]}
    assert len(server.seen[0].images) == 1
    assert ledger.totals()["vlm_verifier"].calls == 1


def test_nothing_is_asked_about_an_empty_mask_or_without_instructions(
    verifier, monkeypatch, tmp_path
):
    with served(monkeypatch, tmp_path, always(GOOD)) as server:
        answers = verifier.verify([IMAGE] * 3, [["a"], [], ["b"]], [~MASK & MASK, MASK, MASK])
        assert verifier.verify([], [], []) == []
    assert [answer is None for answer in answers] == [True, True, False]
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "reply",
    ['{"validity": "yes", "exhaustivity": 1}', '{"validity": 1.2, "exhaustivity": 1}', '{"validity": 1}', "yes",
     '{"validity": NaN, "exhaustivity": 1}', '{"validity": true, "exhaustivity": 1}'],
)  # fmt: skip
def test_a_bad_verdict_costs_its_row(reply, verifier, monkeypatch, tmp_path):
    with served(monkeypatch, tmp_path, saying({"bad": reply, "fine": GOOD.text})):
        answers = verifier.verify([IMAGE] * 2, [["bad"], ["fine"]], [MASK, MASK])
    assert isinstance(answers[0], UnreadableReply)
    assert answers[1] == Verdict(validity=0.75, exhaustivity=0.5)


def test_hostile_replies_are_lost_votes(verifier, monkeypatch, tmp_path):
    with served(monkeypatch, tmp_path, SCRIPTS["hostile"]):
        (answer,) = verifier.verify([IMAGE], [["a"]], [MASK])
    assert isinstance(answer, UnreadableReply)


def test_another_mask_is_another_question(verifier, monkeypatch, tmp_path):
    with served(monkeypatch, tmp_path) as server:
        verifier.verify([IMAGE] * 3, [["a"]] * 3, [MASK, ~MASK, MASK])
    assert len(server.seen) == 2


def test_its_identity_names_model_and_prompt(verifier, monkeypatch, tmp_path):
    with served(monkeypatch, tmp_path):
        identity = verifier.identity
    assert (identity.expert, identity.model, identity.prompt_version) == (
        "vlm_verifier", MODEL, VERIFY.version,
    )  # fmt: skip
    assert identity.config_hash == verifier.config_hash


def test_inside_the_mask_the_photograph_is_as_it_was():
    before = IMAGE.copy()
    shown = show_mask(IMAGE, MASK)
    assert (shown[MASK] == IMAGE[MASK]).all()
    assert (before == IMAGE).all()
    assert shown is not IMAGE


def test_outside_colours_fade_and_can_still_be_told_apart():
    image = np.zeros((60, 80, 3), np.uint8)
    image[:, :, 0] = np.arange(0, 240, 3)
    shown = show_mask(image, MASK)
    row = shown[50].astype(int)  # below the mask and its line
    assert (np.diff(row[:, 0]) > 0).all()
    assert np.ptp(row[:, 0]) < 0.5 * np.ptp(image[50, :, 0].astype(int))


@pytest.mark.parametrize(("side", "width"), [(80, 1), (1000, 4)])
def test_the_line_lies_around_the_mask_and_grows_with_the_photograph(side, width):
    mask = np.zeros((side, side), bool)
    mask[side // 4 : side // 2, side // 4 : side // 2] = True
    line = (show_mask(np.zeros((side, side, 3), np.uint8), mask) == LINE).all(axis=2)
    grown = np.zeros_like(mask)
    grown[side // 4 - width : side // 2 + width, side // 4 - width : side // 2 + width] = True
    assert (line == (grown & ~mask)).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (3, 200)])
def test_any_size_can_be_shown(size):
    full = np.ones(size, bool)
    image = np.full((*size, 3), 7, np.uint8)
    assert (show_mask(image, full) == image).all()
