"""Another grounder's boxes scored anew: against the formula written out, and where the encoder knows better."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import transformers as hf
from typer.testing import CliRunner

from annotators.language.everyday import EVERYDAY
from annotators.ledger import Ledger, Limits
from annotators.models.open_vocab import SUREST, head_of, heads_of
from annotators.models.region_text import RegionText
from annotators.models.torch_model import load_complete
from annotators.phrase import Phrase
from annotators.protocols import Payer
from annotators.registry import make_expert
from maskmix import app
from pipeline.config import ExpertUse
from pipeline.panel_seats import Seats
from pipeline.panel_seats import make as make_use
from tests.annotators.models.scenes import LANDSCAPE, ODD, batches_agree, keeps_the_contract, said

NAMES = ["ball", "wooden box", "man"]
OPTIONS = {
    "owlv2": {"box_threshold": 0.02, "max_boxes": 3},
    "grounding_dino": {"box_threshold": 0.02, "text_threshold": 0.0, "max_boxes": 3},
}
"""With which tiny random detectors find something of everything."""


@pytest.fixture(scope="module")
def make(tiny):
    """An expert around a tiny detector, or around boxes drawn at random; options override."""

    def expert(*, of="fake_grounder", encoder="clip", **options):
        inner = {"model": str(tiny(of)), **OPTIONS[of]} if of in OPTIONS else {"boxes": 6}
        given = {"model": str(tiny(encoder)), "of": of, "of_options": inner, "vocabulary": NAMES}
        return make_expert("open_vocab", {**given, **options})

    _ = expert()._encoder._torch.net  # libraries are imported here, not in the first test
    return expert


def by_hand(s, region, texts, *, share, temperature):
    """The fused score of a box with score `s`; the first of `texts` is its phrase, the rest are rivals."""
    raised = np.exp((texts @ region).astype(np.float64) / temperature)
    fused = s ** (1 - share) * (raised[0] / raised.sum()) ** share
    return fused / (fused + 1 - s)


RIVALS = {
    "the zither": ["a red ball", "the ball", "the wooden box", "the man"],
    "a red ball": ["the zither", "the wooden box", "the man"],
    "take the ball to the man": ["the zither", "the wooden box"],
}
"""Phrase -> what it is told apart from: names and simplified phrases that are no head noun of it."""


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_scores_are_fused_as_the_formula_says_and_nothing_else_changes(kind, make, tiny):
    phrases = said(*[*RIVALS][:2])
    phrases.append(Phrase(text=[*RIVALS][2], role="raw", made_by="test"))
    expert = make(encoder=kind, of="owlv2", temperature=0.3)
    [before] = expert.inner.ground([LANDSCAPE], [phrases])
    [after] = expert.ground([LANDSCAPE], [phrases])
    scorer = RegionText(expert="test", options={"model": str(tiny(kind))})
    [regions] = scorer.regions([LANDSCAPE], [[proposal.box for proposal in before]])
    assert {proposal.phrase for proposal in before} == {0, 1, 2}
    assert len(after) == len(before)
    for old, new, region in zip(before, after, regions, strict=True):
        assert (new.box, new.phrase) == (old.box, old.phrase)
        assert new.made_by.score_raw == old.made_by.score_raw
        text = phrases[old.phrase].text
        read = scorer.texts([f"a photo of {t}" for t in [text, *RIVALS[text]]])
        share = 0.35 if "ball" in text else 0.65
        wanted = by_hand(old.score, region, read, share=share, temperature=0.3)
        assert new.score == pytest.approx(wanted, abs=1e-5)
        assert abs(new.score - old.score) > 1e-3


def test_without_the_encoder_scores_are_the_grounders(make):
    expert = make(alpha=0.0, beta=0.0)
    for text in ("the zither", "the ball"):
        [before] = expert.inner.ground([LANDSCAPE], [said(text)])
        [after] = expert.ground([LANDSCAPE], [said(text)])
        assert [p.score for p in after] == pytest.approx([min(p.score, SUREST) for p in before])


@pytest.fixture(scope="module")
def planted(tmp_path_factory, make):
    """Options around a CLIP that knows two boxes of a picture: the surer one is a ball, the other a zither."""
    drawn = {"of_options": {"boxes": 2, "seed": 11}}
    grounder = make(**drawn)
    [boxes] = grounder.inner.ground([LANDSCAPE], [said("the zither")])
    [regions] = grounder._encoder.regions([LANDSCAPE], [[proposal.box for proposal in boxes]])
    assert boxes[0].score > boxes[1].score + 0.1
    model, folder = grounder._encoder._torch, tmp_path_factory.mktemp("planted")
    net = load_complete(hf.CLIPModel, model.folder, "test")
    meant = torch.tensor(regions[[1, 0, 0, 0]]).T
    with torch.no_grad():
        words = [f"a photo of the {name}" for name in ("zither", *NAMES)]
        read = [model.processor.tokenizer(text, return_tensors="pt") for text in words]
        heard = torch.cat([net.text_model(**one).pooler_output for one in read])
        net.text_projection.weight[:] = meant @ torch.linalg.pinv(heard.T)
    net.save_pretrained(folder)
    model.processor.save_pretrained(folder)
    return {"model": str(folder), **drawn}


def ranks(expert, text="the zither"):
    """Rows of what the expert keeps, best first, and the boxes' scores."""
    [found] = expert.ground([LANDSCAPE], [said(text)])
    return sorted(range(len(found)), key=lambda row: -found[row].score), found


def test_an_encoder_that_knows_better_overrules_a_sure_grounder(make, planted):
    order, before = ranks(make(**planted, beta=0.0))
    assert order == [0, 1]
    order, after = ranks(make(**planted, beta=0.65))
    assert order == [1, 0]
    assert [p.box for p in after] == [p.box for p in before]
    assert after[0].score < 0.5 * before[0].score
    assert after[1].score == pytest.approx(before[1].score, abs=0.1)


def test_what_the_encoder_does_not_believe_is_left_out_when_the_recipe_says_so(make, planted):
    _, [wrong, right] = ranks(make(**planted))
    [kept] = ranks(make(**planted, least_share=0.8))[1]
    assert kept.box == right.box
    between = (wrong.score + right.score) / 2
    assert [p.box for p in ranks(make(**planted, least_score=between))[1]] == [right.box]
    assert ranks(make(**planted, least_score=1.0))[1] == []
    assert len(ranks(make(**planted, least_share=wrong.score / right.score - 0.01))[1]) == 2


def test_of_a_name_it_knows_the_grounder_is_believed_more(make, planted):
    """The same embeddings, with and without the phrase's head noun among the everyday names."""
    novel = ranks(make(**planted))[1]
    base = ranks(make(**{**planted, "vocabulary": [*NAMES, "zither"]}))[1]
    as_base = ranks(make(**planted, beta=0.35))[1]
    assert [p.score for p in base] == pytest.approx([p.score for p in as_base], abs=1e-6)
    assert base[0].score > novel[0].score + 0.05


class Sure:
    """A grounder that has no doubts, fails on one picture and sends a bill."""

    name = "sure"

    def __init__(self, inner):
        self.inner, self.billed = inner, []

    def bill(self, ledger):
        self.billed.append(ledger)

    def ground(self, images, phrases):
        answers = self.inner.ground(images, phrases)
        sure = [[replace(proposal, score=1.0) for proposal in row] for row in answers]
        return [
            RuntimeError("lost") if image.shape == ODD.shape else row
            for image, row in zip(images, sure, strict=True)
        ]


def test_a_grounder_without_doubts_does_not_silence_the_encoder(make, planted):
    expert = make(**planted)
    expert.inner = Sure(expert.inner)
    order, found = ranks(expert)
    assert order == [1, 0]
    assert found[1].score - found[0].score > 0.1


def test_a_row_that_the_grounder_failed_on_stays_failed_and_its_calls_are_paid(make, tmp_path):
    expert = make()
    sure = expert.inner = Sure(expert.inner)
    first, lost, last = expert.ground([LANDSCAPE, ODD, LANDSCAPE], [said("the mug")] * 3)
    assert isinstance(lost, RuntimeError)
    assert first == last
    assert len(first) == 6
    assert isinstance(expert, Payer)
    ledger = Ledger(tmp_path / "ledger.jsonl", Limits())
    expert.bill(ledger)
    assert sure.billed == [ledger]
    make().bill(ledger)  # its grounder costs nothing


@pytest.mark.slow
@pytest.mark.parametrize("of", ["owlv2", "grounding_dino"])
def test_it_keeps_the_contract_around_a_detector(of, make):
    keeps_the_contract(lambda: make(of=of, temperature=0.3))


@pytest.mark.slow
def test_batches_agree(make, monkeypatch):
    batches_agree(lambda: make(of="owlv2", temperature=0.3), monkeypatch)


def test_where_the_grounder_abstains_it_does_and_looks_at_nothing(make):
    expert = make(of_options={"abstain": 1.0}, model="/nowhere")
    assert expert.ground([LANDSCAPE, ODD], [said("mug"), []]) == [[], []]
    assert expert.ground([], []) == []


def test_names_are_read_once(make):
    expert = make()
    texts = []
    expert._encoder._torch.net.text_model.register_forward_hook(lambda *_: texts.append(1))
    expert.ground([LANDSCAPE], [said("mug")])
    assert len(texts) == 1 + len(NAMES)
    expert.ground([ODD], [said("mug", "bowl")])
    assert len(texts) == 1 + len(NAMES) + 2


def test_the_identity_names_both_and_is_held_to_both_revisions(make, tiny):
    who = make(of="owlv2").identity
    assert who.model == f"{tiny('clip')}+owlv2:{tiny('owlv2')}"
    assert who.licence == "apache-2.0"
    assert make(of="owlv2", revision=who.revision).identity == who
    mine, theirs = who.revision.split("+")
    assert mine.startswith("sha256:")
    assert theirs.startswith("sha256:")
    for wrong in (f"{theirs}+{mine}", f"{mine}+{mine}", f"+{mine}", f"{theirs}+"):
        with pytest.raises(ValueError, match="the files changed"):
            _ = make(of="owlv2", revision=wrong).identity
    hashes = {
        make(of="owlv2", **change).identity.config_hash
        for change in (
            {}, {"beta": 0.5}, {"vocabulary": None}, {"temperature": 0.02}, {"side": 64}, {"least_share": 0.5},
            {"of_options": {"model": str(tiny("owlv2")), "max_boxes": 7}},
        )
    }  # fmt: skip
    assert len(hashes) == 7
    same = {"device": "cpu", "batch_size": 2, "keep": 1}
    assert make(of="owlv2", **same).identity.config_hash == who.config_hash


def test_a_build_that_goes_on_is_pinned_to_both_revisions(make, tiny, tmp_path):
    options = {"model": str(tiny("clip")), "of": "regions"}
    use = ExpertUse(use="open_vocab", options=options, resources=None)
    ledger = Ledger(tmp_path / "ledger.jsonl", Limits())
    entry = Seats(make_use, ledger).seat("ground", 0, use).entry()
    assert entry.roles == ["grounder"]
    assert entry.model == f"{tiny('clip')}+regions"
    assert entry.revision.startswith("sha256:")
    assert entry.revision.endswith("+")
    assert Seats(make_use, ledger, [entry]).seat("ground", 0, use).entry() == entry


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vocabulary": []}, "nothing to be told apart from"),
        ({"vocabulary": ["mug", "red mugs"]}, "two or more kinds of things"),
        ({"vocabulary": "mug"}, "expected a list of names"),
        ({"vocabulary": ["mug", " "]}, "expected a list of names"),
        ({"of": "grabcut", "of_options": {}}, "'grabcut' gives no boxes for phrases"),
        ({"of": "owlv3"}, "unknown expert: 'owlv3'; did you mean 'owlv2'"),
        ({"of_options": {"box": 1}}, "unknown option of expert 'fake_grounder'"),
        ({"of": "owlv2", "of_options": None}, "expert 'owlv2': missing"),
        ({"revision": "main"}, r"'main'.*MODEL\+OF"),
        ({"revision": "+main"}, "'main' is for 'fake_grounder', which takes none"),
        ({"prompt": "photo"}, "expected one {}"),
        ({"alpha": -0.1}, r"'open_vocab': alpha is -0.1; expected a number in \[0, 1\]"),
        ({"least_share": 2}, "least_share is 2"),
        ({"temperature": 0.0}, "expected a number above 0"),
        ({"side": 0}, "expected 1 or more pixels"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, words, make):
    with pytest.raises(ValueError, match=words):
        make(**options)


def test_everyday_names_are_told_apart_by_their_head_nouns():
    assert len(set(EVERYDAY)) == len(EVERYDAY) > 150
    odd = {name for name in EVERYDAY if head_of(name) != name and " " not in name}
    assert odd == {"stairs"}
    for name in EVERYDAY:
        for text in (f"the small red {name}", f"the {name} on the left of it"):
            assert head_of(text) == head_of(name), text
        assert head_of(name) in heads_of(Phrase(text=f"take the {name}", role="raw", made_by="me"))


@pytest.mark.slow
def test_the_command_line_tries_it_and_its_doctor_knows_both_models(tiny, tmp_path):
    photo, out = tmp_path / "photo.png", tmp_path / "drawn.png"
    cv2.imwrite(str(photo), LANDSCAPE)
    inner = {"model": str(tiny("owlv2")), "box_threshold": 0.02, "max_boxes": 3}
    options = {"model": str(tiny("clip")), "of": "owlv2", "of_options": inner}
    sets = [f"model={options['model']}", "of=owlv2", *(f"of_options.{k}={v}" for k, v in inner.items())]  # fmt: skip
    run = CliRunner()
    tried = run.invoke(
        app,
        ["experts", "try", "open_vocab", "the red mug", "--image", str(photo), "--out", str(out), "--json"]
        + [word for one in sets for word in ("--set", one)],
    )  # fmt: skip
    assert tried.exit_code == 0, tried.output
    facts = json.loads(tried.stdout.splitlines()[0])
    assert len(facts["boxes"]) == 3
    assert facts["identity"]["model"] == f"{options['model']}+owlv2:{inner['model']}"
    assert "open_vocab" in run.invoke(app, ["experts", "list"]).stdout

    def doctor(options):
        use = f"stages.ground.experts=[{json.dumps({'use': 'open_vocab', 'options': options})}]"
        return run.invoke(app, ["experts", "doctor", "--recipe", "lite", "--set", use])

    assert "ready      ground/open_vocab: " in (told := doctor(options).stdout)
    assert "weights ok" in told
    gone = doctor({**options, "of_options": {"model": str(tmp_path / "none")}})
    assert gone.exit_code == 1
    assert f"{tmp_path}/none, weights missing" in gone.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_agrees_with_the_cpu(make):
    for encoder in ("clip", "siglip"):
        run = {"encoder": encoder, "temperature": 0.3, "dtype": "float32"}
        [there] = make(**run, device="cuda").ground([LANDSCAPE], [said("the mug")])
        [here] = make(**run, device="cpu").ground([LANDSCAPE], [said("the mug")])
        assert [p.score for p in there] == pytest.approx([p.score for p in here], abs=1e-3)
