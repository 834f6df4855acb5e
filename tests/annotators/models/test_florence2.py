"""Florence-2 against transformers' own reading of the same answers; a score is the probability of what was written."""

import numpy as np
import pytest
import torch
import transformers as hf

from annotators.models.florence2 import TASKS, Florence2Expert, located
from annotators.models.torch_model import photographs
from tests.annotators.models.scenes import LANDSCAPE, SIZES, keeps_the_contract, said

pytestmark = pytest.mark.slow
MOST = 30


@pytest.fixture(scope="module")
def reference(tiny):
    folder = tiny("florence2")
    model = hf.Florence2ForConditionalGeneration.from_pretrained(folder).eval()
    return model, hf.AutoProcessor.from_pretrained(folder)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("beams", [1, 3])
def test_boxes_are_those_that_the_reference_reads(task, beams, tiny, reference):
    model, processor = reference
    expert = Florence2Expert(
        model=str(tiny("florence2")), task=task, beams=beams, max_new_tokens=MOST
    )
    read = 0
    for image in SIZES:
        height, width = image.shape[:2]
        mine = expert._answers([image], ["the red mug"])[0]
        inputs = processor(
            images=photographs([image]), text=TASKS[task] + "the red mug", return_tensors="pt"
        )
        with torch.inference_mode():
            ids = model.generate(**inputs, num_beams=beams, do_sample=False, max_new_tokens=MOST)
        wanted = processor.post_process_generation(
            sequence=ids[0], task=TASKS[task], image_size=(width, height)
        )[TASKS[task]]
        boxes = np.array([one.bins for one in mine], np.float64) + 0.5
        boxes = boxes / 1000 * np.array([width, height, width, height])
        kept = [
            i
            for i, one in enumerate(mine)
            if not (task == "caption_to_phrase_grounding" and one.label in ("it", "the image"))
        ]
        assert np.floor(boxes[kept] + 1e-6).astype(int).tolist() == wanted["bboxes"]
        read += len(kept)
    assert read > 3


def test_the_score_is_the_probability_of_the_four_tokens(tiny, reference):
    model, processor = reference
    expert = Florence2Expert(model=str(tiny("florence2")), max_new_tokens=MOST)
    mine = expert._answers([LANDSCAPE], ["the red mug"])[0]
    inputs = processor(
        images=photographs([LANDSCAPE]),
        text=TASKS["open_vocabulary_detection"] + "the red mug",
        return_tensors="pt",
    )
    with torch.inference_mode():
        ids = model.generate(**inputs, num_beams=1, do_sample=False, max_new_tokens=MOST)
        logits = model(**inputs, decoder_input_ids=ids[:, :-1]).logits[0].log_softmax(-1)
    sure = logits.gather(1, ids[0, 1:, None])[:, 0].tolist()
    tokens = processor.tokenizer.convert_ids_to_tokens(ids[0, 1:].tolist())
    wanted = located(tokens, sure)
    assert [one.bins for one in mine] == [one.bins for one in wanted]
    for a, b in zip(mine[:-1], wanted[:-1], strict=True):  # the last may hold the forced end
        assert abs(a.logprob - b.logprob) <= 1e-4
    found = expert.ground([LANDSCAPE], [said("the red mug")])[0]
    assert found
    assert all(abs(p.score - np.exp(p.made_by.score_raw)) < 1e-9 for p in found)


def test_an_answer_is_read_in_fours():
    tokens = ["<s>", "mug", *(f"<loc_{i}>" for i in range(9)), "Ġbox", "<loc_1>", "<loc_2>", "</s>"]
    found = located(tokens, [-1.0] * len(tokens))
    assert [(one.label, one.bins) for one in found] == [
        ("mug", (0, 1, 2, 3)),
        ("mug", (4, 5, 6, 7)),
    ]


def test_locations_without_a_label_are_no_answer():
    assert located([f"<loc_{i}>" for i in range(4)], [-1.0] * 4) == []


def test_phrase_grounding_keeps_the_first_label(tiny):
    expert = Florence2Expert(model=str(tiny("florence2")), task="caption_to_phrase_grounding")
    rows = located(
        ["mug", *["<loc_9>", "<loc_9>", "<loc_99>", "<loc_99>"], "bowl", *["<loc_1>", "<loc_1>", "<loc_5>", "<loc_5>"]],
        [-0.1] * 10,
    )  # fmt: skip
    found = expert._choose(LANDSCAPE, 0, rows)
    assert len(found) == 1
    assert found[0].box == pytest.approx((0.855, 0.57, 8.955, 5.97))


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="open_vocabulary_detection"):
        Florence2Expert(model="org/name", task="<OD>")


def test_the_contract_holds(tiny):
    folder = str(tiny("florence2"))
    keeps_the_contract(lambda: Florence2Expert(model=folder, max_new_tokens=60))


def test_rows_that_run_together_agree_with_rows_alone(tiny):
    """As on a GPU: texts of other lengths are filled up, and what fills them is masked."""
    expert = Florence2Expert(model=str(tiny("florence2")), max_new_tokens=MOST)
    texts = ["the red mug", "a box", "ball", "the man in the green shirt"]
    together = expert._answers(SIZES, texts)
    for image, text, answers in zip(SIZES, texts, together, strict=True):
        alone = expert._answers([image], [text])[0]
        assert len(alone) > 1
        assert [(one.label, one.bins) for one in alone] == [
            (one.label, one.bins) for one in answers
        ]
        for a, b in zip(alone, answers, strict=True):
            assert abs(a.logprob - b.logprob) <= 1e-3


def test_bfloat16_answers(tiny):
    expert = Florence2Expert(model=str(tiny("florence2")), dtype="bfloat16", max_new_tokens=MOST)
    assert expert._answers([LANDSCAPE], ["the red mug"])[0]
