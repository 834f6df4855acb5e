"""The published formats are read as they stand, and answers only where they are clear."""

import json
from pathlib import Path

import pytest

from tests.trainer.vqa.conftest import (
    draw,
    egothink_folder,
    pope_file,
    vstar_folder,
    vstar_lines,
    write_lines,
)
from trainer.vqa.bench import Format, read_items
from trainer.vqa.egothink import OURS, published_grading, read_rating
from trainer.vqa.pope import read_as_published, read_yes_no
from trainer.vqa.vstar import read_choice

OPTIONS = ("rubber", "cotton", "a blue glove", "The dog is on the left side of the cat.")


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("b.", "B"),
        ("B. cotton", "B"),
        ("(B) Cotton.", "B"),
        ("Cotton", "B"),
        ("**cotton**", "B"),
        ("The answer is (B).", "B"),
        ("Answer: B", "B"),
        ("The correct option is cotton", "B"),
        ("<think>A? No.</think>\nB", "B"),
        ("a blue glove", "C"),
        ("the dog is on the left side of the cat", "D"),
        ("B) rubber", None),
        ("A or B", None),
        ("E", None),
        ("wool", None),
        ("I cannot tell.", None),
        ("A blue one", None),
        ("", None),
    ],
)
def test_a_choice_is_read_where_it_is_one_clear_choice(reply: str, letter: str | None):
    assert read_choice(reply, OPTIONS) == letter


@pytest.mark.parametrize(
    ("reply", "ours", "published"),
    [
        ("Yes", "yes", "yes"),
        ("yes, there is a dog.", "yes", "yes"),
        ("No.", "no", "no"),
        ("No, there is no dog.", "no", "no"),
        ("There is not a dog in the image.", "no", "no"),
        ("There is a dog. No cat.", None, "yes"),
        ("I cannot tell", None, "yes"),
        ("NO", "no", "yes"),
        ("Yes or no", None, "no"),
    ],
)
def test_yes_and_no_are_read_and_the_published_rule_is_kept_beside_it(
    reply: str, ours: str | None, published: str
):
    assert read_yes_no(reply) == ours
    assert read_as_published(reply) == published


@pytest.mark.parametrize(
    ("reply", "rating"),
    [
        ("Same place. Rating: [[1]]", 1.0),
        ("[[0.5]]", 0.5),
        ("[[0]] because it is wrong", 0.0),
        ("[[1.0]] and again [[1]]", 1.0),
        ("[[0]] or [[1]]", None),
        ("[[0.7]]", None),
        ("[1]", None),
        ("5", None),
    ],
)
def test_a_rating_is_0_a_half_or_1_in_double_brackets(reply: str, rating: float | None):
    assert read_rating(reply) == rating


def test_the_folder_of_vstar_gives_lettered_questions_whose_right_option_is_not_always_a(
    tmp_path: Path,
):
    items = read_items([vstar_folder(tmp_path / "v", 8)], "vstar")
    assert len(items) == 16
    assert {item.group for item in items} == {"Attribute", "Spatial"}
    for item in items:
        said = json.loads(item.image.with_suffix(".json").read_text())
        assert item.options["ABC".index(item.answer)] == said["options"][0]
        assert item.text.splitlines()[1] == f"(A) {item.options[0]}"
        assert item.about == said["question"]
    assert {item.answer for item in items} == {"A", "B", "C"}
    assert items == read_items([tmp_path / "v"], "vstar"), "the order is the question's own"


def test_the_lines_of_vstar_go_to_the_model_word_for_word(tmp_path: Path):
    path = vstar_lines(tmp_path)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    items = read_items([path], "vstar")
    assert [item.text for item in items] == [row["text"] for row in rows]
    assert {item.about for item in items} == {"What is the colour of it?"}
    assert [item.answer for item in items] == [row["label"] for row in rows]
    assert items[0].options == ("red", "green", "blue")


def test_pope_files_are_settings_by_their_names_and_their_images_lie_elsewhere(tmp_path: Path):
    files = [pope_file(tmp_path, name, 2) for name in ("popular", "random")]
    items = read_items(files, "pope", tmp_path / "val2014")
    assert [item.group for item in items] == ["popular"] * 4 + ["random"] * 4
    assert items[1].text == "Is there a green square in the image?"
    assert [item.answer for item in items[:4]] == ["yes", "no", "yes", "no"]


def test_dimensions_of_egothink_are_their_folders(tmp_path: Path):
    root = egothink_folder(tmp_path, ("Activity", "Localization/location"), 2)
    items = read_items([root], "egothink")
    assert [item.group for item in items] == ["Activity"] * 2 + ["Localization/location"] * 2
    assert items[0].answer == "red."
    files = [root / d / "annotations.json" for d in ("Activity", "Localization/location")]
    assert items == read_items(files, "egothink")


def test_the_judge_sees_question_reference_and_answer_and_an_answer_fills_no_mark(tmp_path: Path):
    (item,) = read_items([egothink_folder(tmp_path, ("Activity",), 1)], "egothink")
    asked = OURS.ask(item, "blue {question}")
    assert [asked.count(x) for x in (item.text, "red.", "blue {question}")] == [1, 1, 1]
    template = "{question}|{ref_answer_1}|{answer}"
    rows = [
        {"name": "single-v1", "system_prompt": "s", "prompt_template": "{question}"},
        {"name": "single-math-v2", "system_prompt": "S", "prompt_template": template},
    ]
    published = published_grading(write_lines(tmp_path / "judge_prompts.jsonl", rows))
    assert published.ask(item, "blue") == f"{item.text}|red.|blue"
    assert (published.system, published.version[:14]) == ("S", "single-math-v2")
    with pytest.raises(ValueError, match="expected EgoThink's judge_prompts"):
        published_grading(write_lines(tmp_path / "other.jsonl", rows[:1]))


@pytest.mark.parametrize(
    ("format", "name", "text", "message"),
    [
        ("vstar", "q.jsonl", '{"image": "i.jpg", "text": "x", "label": "yes"}', "no text 'category'"),
        ("vstar", "q.jsonl", '{"image": "i.jpg", "text": "x", "category": "ocr", "label": "A"}', "category 'ocr'"),
        ("vstar", "q.jsonl", '{"image": "i.jpg", "text": "x\\n(A) b", "category": "direct_attributes", "label": "B"}',
         "none of its 1 lettered options"),
        ("pope", "q.json", '{"image": "i.jpg", "text": "x", "label": "maybe"}', "label 'maybe'"),
        ("pope", "q.json", '[{"image": "i.jpg"}]', "expected lines of a POPE file"),
        ("pope", "q.json", "not json", "is no JSON"),
        ("pope", "q.json", "", "is empty"),
        ("egothink", "annotations.json", '{"question": "x"}', "holds no list"),
        ("egothink", "annotations.json", '[{"question": "x", "answer": "y", "image_path": "1.jpg"}]', "image_path is"),
        ("pope", "q.json", '{"image": "gone.jpg", "text": "x", "label": "yes"}', "none at .*gone.jpg; set --images"),
        ("pope", "q.json", '{"image": "../i.jpg", "text": "x", "label": "yes"}', "expected a path below"),
    ],
)  # fmt: skip
def test_a_file_of_another_format_is_refused_with_what_was_expected(
    tmp_path: Path, format: Format, name: str, text: str, message: str
):
    draw(tmp_path / "i.jpg", "red", "blue")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_items([tmp_path / name], format)


def test_missing_files_and_questions_given_twice_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="no file or folder"):
        read_items([tmp_path / "gone.json"], "pope")
    path = pope_file(tmp_path, "random", 1)
    with pytest.raises(ValueError, match="2 questions stand twice"):
        read_items([path, path], "pope", tmp_path / "val2014")
    with pytest.raises(ValueError, match=r"holds no direct_attributes/\*\.json"):
        read_items([tmp_path], "vstar")
    vstar_folder(tmp_path / "v", 1)
    (tmp_path / "v" / "direct_attributes" / "sa_0.jpg").unlink()
    with pytest.raises(ValueError, match="no image beside it"):
        read_items([tmp_path / "v"], "vstar")
