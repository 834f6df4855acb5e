"""Detectors against transformers' own pipeline and post-processing, on tiny random models and mixed sizes.

Logits first, then scores (1e-5) and boxes (1e-3 pixels). Trained weights would show quality; these show the frame, the
thresholds and the words.
"""

import numpy as np
import pytest
import torch
import transformers as hf

from annotators.boxes import clip_box
from annotators.models.grounding_dino import GroundingDinoExpert, caption, widened
from annotators.models.owlv2 import Owlv2Expert
from annotators.models.torch_model import photographs
from tests.annotators.models.scenes import SIZES, batches_agree, keeps_the_contract, said

pytestmark = pytest.mark.slow
TEXTS = ("the red mug", "blue ball")
DINOS = ("grounding_dino", "mm_grounding_dino")
ALL = dict(nms_iou=1.0, max_boxes=10_000)


def reference(folder):
    model = hf.AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    return model, hf.AutoProcessor.from_pretrained(folder)


def forward(model, processor, image, text):
    inputs = processor(images=photographs([image]), text=text, return_tensors="pt")
    with torch.inference_mode():
        return inputs, model(**inputs)


def clipped(boxes, scores, image):
    """Reference boxes inside the image, best first."""
    rows = sorted(zip(scores, boxes, strict=True), key=lambda row: -row[0])
    kept = [(s, clip_box(tuple(map(float, b)), image.shape[:2])) for s, b in rows]
    return [(float(s), b) for s, b in kept if b is not None]


def agree(found, wanted):
    assert len(found) == len(wanted)
    for proposal, (score, box) in zip(found, wanted, strict=True):
        assert abs(proposal.score - score) <= 1e-5
        assert np.abs(np.subtract(proposal.box, box)).max() <= 1e-3


def agree_with_pipeline(folder, expert, texts, threshold):
    """The pipeline floors its boxes to whole pixels; scores tell which is which."""
    pipeline = hf.pipeline("zero-shot-object-detection", model=str(folder))
    for image in SIZES:
        answers = expert.ground([image], [said(*texts)])[0]
        theirs = pipeline(photographs([image])[0], candidate_labels=[*texts], threshold=threshold)
        wanted = [
            (row["score"], row["label"], clip_box(tuple(map(float, row["box"].values())), image.shape[:2]))
            for row in theirs
        ]  # fmt: skip
        assert len(theirs) > 2
        for proposal in answers:
            score, label, box = min(wanted, key=lambda row: abs(row[0] - proposal.score))
            assert abs(score - proposal.score) <= 1e-5
            assert label == texts[proposal.phrase]
            if box is not None:
                assert np.abs(np.subtract(proposal.box, box)).max() <= 1.001


def test_owlv2_gives_what_the_reference_gives(tiny):
    folder = tiny("owlv2")
    model, processor = reference(folder)
    expert = Owlv2Expert(model=str(folder), prompt="{}", box_threshold=0.3, **ALL)
    batched = expert.ground(SIZES, [said(*TEXTS)] * len(SIZES))
    inside = total = 0
    for image, answers in zip(SIZES, batched, strict=True):
        features, _ = expert._encodings.of([image], expert._encode)[0]
        for number, text in enumerate(TEXTS):
            _, out = forward(model, processor, image, [[text]])
            mine = expert._logits([text], features)[0]
            assert np.abs(mine - out.logits[0, :, 0].numpy()).max() <= 1e-5
            wanted = processor.post_process_grounded_object_detection(
                out, threshold=0.3, target_sizes=[image.shape[:2]]
            )[0]
            agree(
                [p for p in answers if p.phrase == number],
                clipped(wanted["boxes"], wanted["scores"], image),
            )
            inside, total = inside + len(wanted["scores"]), total + out.logits.shape[1]
    assert 0.1 < inside / total < 0.9, "the threshold must have scores on both sides"


def test_owlv2_finds_what_the_pipeline_finds(tiny):
    expert = Owlv2Expert(model=str(tiny("owlv2")), prompt="{}", box_threshold=0.3, **ALL)
    agree_with_pipeline(tiny("owlv2"), expert, TEXTS, 0.3)


def test_owlv2_boxes_are_fractions_of_the_longer_side(tiny):
    expert = Owlv2Expert(model=str(tiny("owlv2")), box_threshold=0.0, **ALL)
    portrait = SIZES[1]
    square = np.full((90, 90, 3), 0, np.uint8)
    tall = [p.box for p in expert.ground([portrait], [said("mug")])[0]]
    assert max(box[3] for box in tall) > 51, "boxes were scaled by the shorter side"
    wide = [p.box for p in expert.ground([square], [said("mug")])[0]]
    assert max(box[2] for box in wide) > 51
    assert max(box[2] for box in tall) <= 51


def test_owlv2_sees_a_photograph_once(tiny):
    expert = Owlv2Expert(model=str(tiny("owlv2")))
    seen = []
    whole = expert._encode
    expert._encode = lambda images: seen.extend(images) or whole(images)
    image = SIZES[0]
    first = expert.ground(
        [image, SIZES[1], image.copy()], [said("the mug"), said("mug"), said("ball")]
    )
    again = expert.ground([image], [said("the mug")])
    assert len(seen) == 2
    assert again[0] == first[0]


@pytest.mark.parametrize("kind", DINOS)
def test_grounding_dino_gives_what_the_reference_gives(kind, tiny):
    folder = tiny(kind)
    model, processor = reference(folder)
    asked = []
    for image in SIZES:
        for text in TEXTS:
            asked.append(forward(model, processor, image, [[text]]))
    scores = torch.cat([out.logits.sigmoid().amax(-1).flatten() for _, out in asked])
    least = float(scores.quantile(0.4)) + 1e-6
    expert = GroundingDinoExpert(
        model=str(folder), box_threshold=least, text_threshold=least, **ALL
    )
    batched = expert.ground(SIZES, [said(*TEXTS)] * len(SIZES))
    dropped = 0
    for index, (inputs, out) in enumerate(asked):
        image, number = SIZES[index // 2], index % 2
        row = [caption(TEXTS[number])]
        assert inputs["input_ids"][0].tolist() == expert._words(row[0])
        wanted = processor.post_process_grounded_object_detection(
            out, threshold=least, text_threshold=least, target_sizes=[image.shape[:2]]
        )[0]
        said_what = [
            any(word.strip() and word not in "[CLS] [SEP] ." for word in label.split())
            for label in wanted["text_labels"]
        ]
        dropped += said_what.count(False)
        mine = [p for p in batched[index // 2] if p.phrase == number]
        named = torch.tensor(said_what, dtype=torch.bool)
        agree(mine, clipped(wanted["boxes"][named], wanted["scores"][named], image))
        raw = out.logits.amax(-1).flatten().tolist()
        assert all(min(abs(p.made_by.score_raw - value) for value in raw) <= 1e-5 for p in mine)
    assert dropped < len(scores) / 2
    assert sum(map(len, batched)) > len(asked)


@pytest.mark.parametrize("kind", DINOS)
def test_grounding_dino_finds_what_the_pipeline_finds(kind, tiny):
    expert = GroundingDinoExpert(
        model=str(tiny(kind)), box_threshold=0.5, text_threshold=0.0, **ALL
    )
    agree_with_pipeline(tiny(kind), expert, tuple(caption(text) for text in TEXTS), 0.5)


def test_grounding_dino_asks_a_word_to_be_named(tiny):
    folder = str(tiny("grounding_dino"))
    loose = GroundingDinoExpert(model=folder, box_threshold=0.0, text_threshold=0.0, **ALL)
    found = loose.ground(SIZES[:1], [said("the red mug")])[0]
    middle = float(np.median([p.score for p in found]))
    strict = GroundingDinoExpert(model=folder, box_threshold=0.0, text_threshold=middle, **ALL)
    fewer = strict.ground(SIZES[:1], [said("the red mug")])[0]
    assert 0 < len(fewer) < len(found)


def test_a_caption_too_long_keeps_its_dot(tiny):
    expert = GroundingDinoExpert(model=str(tiny("grounding_dino")))
    words = expert._words(caption("red " * 500))
    assert len(words) == 32
    assert words[-2:] == [1012, 102]


@pytest.mark.parametrize(
    ("shape", "wanted"), [((3, 200), (25, 200)), ((200, 3), (200, 25)), ((25, 200), (25, 200)), ((1, 1), (1, 1))]
)  # fmt: skip
def test_pictures_thinner_than_any_photograph_are_widened(shape, wanted):
    image = np.full((*shape, 3), 7, np.uint8)
    whole = widened(image)
    assert whole.shape[:2] == wanted
    assert (whole[: shape[0], : shape[1]] == 7).all()


@pytest.mark.parametrize("kind", [*DINOS, "owlv2"])
def test_the_contract_holds(kind, tiny):
    cls = Owlv2Expert if kind == "owlv2" else GroundingDinoExpert
    keeps_the_contract(lambda: cls(model=str(tiny(kind))))


@pytest.mark.parametrize("kind", [*DINOS, "owlv2"])
def test_rows_that_run_together_agree_with_rows_alone(kind, tiny, monkeypatch):
    cls = Owlv2Expert if kind == "owlv2" else GroundingDinoExpert
    batches_agree(lambda: cls(model=str(tiny(kind))), monkeypatch)


@pytest.mark.parametrize("kind", [*DINOS, "owlv2"])
def test_bfloat16_stays_near(kind, tiny):
    cls = Owlv2Expert if kind == "owlv2" else GroundingDinoExpert
    best = [
        cls(model=str(tiny(kind)), dtype=dtype, box_threshold=0.0, **ALL).ground(SIZES[:1], [said("the mug")])[0]
        for dtype in ("float32", "bfloat16")
    ]  # fmt: skip
    assert len(best[1]) > 0
    assert best[0] != best[1], "bfloat16 was not used"
    assert abs(best[0][0].score - best[1][0].score) < 0.1
