"""The plan check: every way to put stages together wrongly is refused before anything runs."""

import itertools
from dataclasses import dataclass

import pytest

from pipeline.records import LINE
from pipeline.stage import PANEL, check_plan


@dataclass
class Step:
    """A stage that only declares what it reads and writes."""

    name: str
    writes: str | None
    reads: frozenset[str] = frozenset()

    def __call__(self, samples, images):
        return list(samples)


REWRITE = Step("rewrite", "phrases", frozenset({"instructions", "image"}))
GROUND = Step("ground", "proposals", frozenset({"phrases", "image"}))
SEGMENT = Step("segment", "candidates", frozenset({"phrases", "proposals", "image"}))
FUSE = Step("fuse", "label", frozenset({"candidates"}))
SCORE = Step("score", "quality", frozenset({"candidates", "label"}))
KEEP = Step("keep", None, frozenset({"label", "quality", "gold", "gold_role"}))
WHOLE = [REWRITE, GROUND, SEGMENT, FUSE, SCORE, KEEP]


def test_the_whole_line_is_accepted():
    check_plan((), WHOLE)


def test_of_all_orders_of_the_line_only_one_is_accepted():
    accepted = []
    for order in itertools.permutations(WHOLE):
        try:
            check_plan((), order)
        except ValueError:
            continue
        accepted.append(list(order))
    assert accepted == [WHOLE]


def test_a_source_may_bring_what_stages_would_fill():
    check_plan({"candidates"}, [FUSE])
    check_plan({"label"}, [])
    check_plan({"label", "candidates"}, [SCORE, KEEP])


@pytest.mark.parametrize(
    ("born", "stages", "says"),
    [
        ((), [GROUND], "'ground' reads phrases, which no earlier stage fills"),
        ((), [REWRITE, FUSE], "'fuse' reads candidates"),
        ({"label"}, [KEEP], "'keep' reads quality"),
        ({"phrases"}, [REWRITE], "fills 'phrases', which is filled already"),
        ({"label"}, [Step("late", "phrases")], "fills 'phrases' after 'label'"),
        ((), [REWRITE, GROUND], "makes no label"),
        ((), [], "makes no label"),
        ({"gold", "image"}, [], "makes no label"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_by_name(born, stages, says):
    with pytest.raises(ValueError, match=says):
        check_plan(born, stages)


def test_a_stage_that_reads_what_it_writes_adds_to_it_before_anything_later_is_filled():
    join = Step("join", "candidates", frozenset({"instructions", "image", "candidates"}))
    check_plan(LINE[:3], [join, FUSE])
    check_plan((), [REWRITE, GROUND, SEGMENT, join, join, FUSE])
    with pytest.raises(ValueError, match="'join' reads candidates, which no earlier stage fills"):
        check_plan((), [REWRITE, join, FUSE])
    with pytest.raises(ValueError, match="fills 'candidates' after 'label'"):
        check_plan(LINE[:3], [FUSE, join])
    adopt = Step("adopt", "candidates", frozenset({"gold"}))
    with pytest.raises(ValueError, match="'join' reads candidates, which stage 'adopt' wrote"):
        check_plan((), [adopt, join, FUSE])


@pytest.mark.parametrize("name", sorted(PANEL))
def test_no_stage_of_the_panel_may_look_at_gold(name):
    peeking = Step(name, "label", frozenset({"gold"}))
    with pytest.raises(ValueError, match="a panel that sees the human mask"):
        check_plan(LINE[:3], [peeking])


def test_a_stage_outside_the_panel_may_look_at_gold():
    check_plan((), [Step("enrich", "label", frozenset({"gold", "gold_role"}))])


def test_no_expert_is_asked_about_phrases_that_were_written_knowing_gold():
    enrich = Step("enrich", "phrases", frozenset({"instructions", "gold"}))
    with pytest.raises(
        ValueError, match="'ground' reads phrases, which stage 'enrich' wrote knowi"
    ):
        check_plan((), [enrich, GROUND, SEGMENT, FUSE])
    with pytest.raises(ValueError, match="'segment' reads phrases"):
        check_plan((), [enrich, Step("boxes", "proposals", frozenset({"extra"})), SEGMENT, FUSE])


def test_the_labelled_path_cuts_masks_out_of_human_boxes_whatever_is_written_about_them():
    enrich = Step("enrich", "phrases", frozenset({"instructions", "gold"}))
    boxes = Step("boxes", "proposals", frozenset({"extra"}))
    cut = Step("segment", "candidates", frozenset({"image", "proposals"}))
    check_plan((), [enrich, boxes, cut, FUSE, SCORE])
    check_plan((), [enrich, Step("adopt", "candidates", frozenset({"gold"})), FUSE])
