"""Instructions as people write them, and the target that the rules name."""

import pytest

from annotators.language.rewriter_rules import LONGEST, RulesRewriter, target_of

CASES = [
    ("the blue mug", "the blue mug"),
    ("guy wearing the red shirt and black shorts", "guy wearing the red shirt and black shorts"),
    ("mug closest to the camera", "mug closest to the camera"),
    ("bottle inside the wooden box", "bottle inside the wooden box"),
    ("every blue glass", "every blue glass"),
    ("both tall stools at the counter", "both tall stools at the counter"),
    ("everyone wearing a dark suit", "everyone wearing a dark suit"),
    ("Pick up the red mug left of the plate", "the red mug left of the plate"),
    ("Please grab the bottle nearest to the camera.", "the bottle nearest to the camera"),
    ("Could you hand me the striped bowl, please?", "the striped bowl"),
    ("Do you see the yellow cone?", "the yellow cone"),
    ("Zoom in on the person in the yellow shirt", "the person in the yellow shirt"),
    ("Focus the camera on the woman in the denim jacket", "the woman in the denim jacket"),
    ("Keep your eye on the ball", "the ball"),
    ("Take a photo of the guy on the phone", "the guy on the phone"),
    ("Crop the photo tightly around the animal behind the fence", "the animal behind the fence"),
    ("Put a box around the skateboard", "the skateboard"),
    ("Turn on the black monitor at the back of the desk", "the black monitor at the back of the desk"),
    ("Pour some water from the glass bottle on the table", "the glass bottle on the table"),
    ("Get some milk out of the white fridge", "the white fridge"),
    ("Heat up my lunch in the white microwave", "the white microwave"),
    ("Throw a rope to the swimmer closest to us", "the swimmer closest to us"),
    ("Give the black cat in the back a scratch", "the black cat in the back"),
    ("Ask the woman in sunglasses if the bench is free", "the woman in sunglasses"),
    ("Scrub the bowl before the next guest arrives", "the bowl"),
    ("Move the gripper to the cube inside the pan", "the cube inside the pan"),
    ("count the red seats", "all the red seats"),
    ("find every bear in this photo", "every bear"),
    ("Show me both rackets", "both rackets"),
    ("What colour is the bag beside the man's hip?", "the bag beside the man's hip"),
    ("What color is the nose of the locomotive?", "the nose of the locomotive"),
    ("Which way is the zebra looking?", "the zebra"),
    ("What time does the clock behind the man show?", "the clock behind the man"),
    ("What does the sticker on the stop sign say?", "the sticker on the stop sign"),
    ("What is written on the blade?", "the blade"),
    ("Which number is written near the cockpit of the plane?", "the cockpit of the plane"),
    ("Which airline does this plane belong to?", "this plane"),
    ("What is the woman in pink doing with her hands?", "the woman in pink"),
    ("What is the running person holding overhead?", "the thing the running person is holding overhead"),
    ("What does the child have on his lap?", "the thing the child has on his lap"),
    ("What is keeping the sun off the dog?", "the thing keeping the sun off the dog"),
    ("what's in the bowl on the side table?", "the thing in the bowl on the side table"),
    ("Which sheep is standing alone on the left?", "the sheep standing alone on the left"),
    ("Which visitor has a black cap with an orange brim?", "the visitor with a black cap with an orange brim"),
    ("Which two people are holding hands?", "the two people holding hands"),
    ("Who is the person in white at the front?", "the person in white at the front"),
    ("Where is the cat lying?", "the cat"),
    ("Why does the man in the blue polo look so sad?", "the man in the blue polo"),
    ("Is the giraffe lying down or standing up?", "the giraffe"),
    ("Are these bananas ready to be eaten?", "these bananas"),
    ("Is the leftmost bunch in the top row fully yellow?", "the leftmost bunch in the top row"),
    ("Is anything placed on top of the dining table?", "the dining table"),
    ("how many chairs are in the room?", "all the chairs in the room"),
    ("How many doors does the fridge have?", "the fridge"),
]  # fmt: skip


@pytest.mark.parametrize(("instruction", "target"), CASES)
def test_it_names_the_target(instruction, target):
    assert target_of(instruction) == target


@pytest.mark.parametrize(
    "instruction",
    [
        "",
        "   ",
        "?!...",
        "どこですか",
        "Где красная чашка?",
        "🙂",
        "123",
        "it",
        "what is it?",
        "and of the",
    ],
)
def test_it_abstains_where_no_target_is_named(instruction):
    assert target_of(instruction) is None
    assert RulesRewriter().rewrite([[instruction]], []) == [[]]


def test_a_typographic_apostrophe_is_an_apostrophe():
    assert target_of("Straighten the man’s black tie") == "the man's black tie"


def test_the_richest_of_several_phrasings_is_kept():
    phrasings = ["Where is the mug?", "Pick up the small red mug on the left", "the red mug"]
    (found,) = RulesRewriter().rewrite([phrasings], [])
    assert [phrase.text for phrase in found] == ["the small red mug on the left"]
    assert (found[0].role, found[0].made_by) == ("simplified", "rules")
    (three,) = RulesRewriter(most=3).rewrite([phrasings], [])
    assert [phrase.text for phrase in three][1:] == ["the red mug", "the mug"]


def test_a_text_without_end_is_read_up_to_a_limit():
    assert target_of("the red mug " + "very " * 5000) is not None
    assert target_of("x" * 100_000) is not None
    assert target_of("7 " * LONGEST + "the red mug") is None


def test_no_phrase_at_most_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        RulesRewriter(most=0)


@pytest.mark.shared
def test_most_instructions_about_real_photographs_get_a_target(shared_data):
    import json

    lines = (shared_data / "coco-instruct" / "instructions.jsonl").read_text().splitlines()
    found = [target_of(json.loads(line)["instruction"]) for line in lines]
    assert sum(target is not None for target in found) / len(found) > 0.97
