"""The checker: hand-made tables where a sentence is true, false or a matter of opinion."""

from dataclasses import replace

import pytest

from pipeline.tabletop.graph import ARM, Thing
from pipeline.tabletop.query import Kind, Query, Rank, Relation, check
from pipeline.tabletop.sight import Sight, View

SIZE = (360, 480)


def thing(index: int, family: str, colour: str, x: float, y: float, **more: object) -> Thing:
    """A thing of 4 cm radius at (x, y) metres."""
    plain = Thing(
        index=index, family=family, colour=colour, finish="painted", pattern="plain", base=(x, y, 0.0), radius=0.04,
        extent=0.1,
    )  # fmt: skip
    return replace(plain, **more)  # type: ignore[arg-type]


def view(*things: Thing, unclear: tuple[int, ...] = ()) -> View:
    """A plan view: 400 pixels to the metre, the camera far to the front."""
    sights = []
    for t in things:
        cx, cy, r = 240 + 400 * t.base[0], 180 - 400 * t.base[1], 400 * t.extent * 0.4
        sights.append(
            Sight(
                pixels=1000, whole=round(90_000 * t.extent), box=(cx - r, cy - r, cx + r, cy + r), centre=(cx, cy),
                inside=1.0, clear=t.index not in unclear,
            )
        )  # fmt: skip
    return View(
        things=things,
        sights=tuple(sights),
        across=tuple(t.base[0] for t in things),
        away=tuple(t.base[1] for t in things),
        size_hw=SIZE,
    )


def one(family: str | None = None, colour: str | None = None, **more: str) -> Query:
    return Query(kind=Kind(family=family, colour=colour, **more))


MUGS = (
    thing(0, "mug", "red", -0.3, 0.0),
    thing(1, "mug", "green", 0.0, 0.0),
    thing(2, "plate", "white", 0.3, 0.0),
)


def test_an_attribute_names_the_only_thing_that_has_it() -> None:
    assert check(one("mug", "red"), view(*MUGS)).targets == {0}
    assert check(one("plate"), view(*MUGS)).targets == {2}


def test_a_name_that_two_things_bear_is_refused() -> None:
    assert "2 things fit" in check(one("mug"), view(*MUGS)).doubt
    assert not check(one("mug"), view(*MUGS)).targets


def test_a_name_that_nothing_bears_is_refused_unless_absence_is_claimed() -> None:
    assert check(one("mug", "black"), view(*MUGS)).doubt
    absent = replace(one("mug", "black"), how="none")
    assert check(absent, view(*MUGS)).doubt == ""
    assert check(absent, view(*MUGS)).targets == frozenset()
    assert check(replace(one("mug", "red"), how="none"), view(*MUGS)).doubt


def test_all_claims_more_than_one() -> None:
    assert check(replace(one("mug"), how="all"), view(*MUGS)).targets == {0, 1}
    assert check(replace(one("plate"), how="all"), view(*MUGS)).doubt


@pytest.mark.parametrize("how", ["one", "all", "none"])
def test_a_half_hidden_thing_that_fits_leaves_doubt(how: str) -> None:
    query = replace(one("mug", "red"), how=how)  # type: ignore[arg-type]
    assert "red mug" in check(query, view(*MUGS, unclear=(0,))).doubt


def test_a_hidden_thing_that_does_not_fit_is_no_trouble() -> None:
    assert check(one("mug", "green"), view(*MUGS, unclear=(0,))).targets == {1}


@pytest.mark.parametrize(("asked", "there"), [("red", "orange"), ("purple", "blue"), ("white", "silver")])  # fmt: skip
def test_close_colours_leave_doubt(asked: str, there: str) -> None:
    things = (thing(0, "mug", asked, -0.2, 0), thing(1, "mug", there, 0.2, 0))
    assert there in check(one("mug", asked), view(*things)).doubt


def test_white_stripes_are_not_simply_not_white() -> None:
    things = (thing(0, "can", "white", -0.2, 0), thing(1, "can", "red", 0.2, 0, pattern="striped"))
    assert check(one("can", "white"), view(*things)).doubt
    assert check(one("can", "red", pattern="striped"), view(*things)).targets == {1}


def test_the_robot_is_perhaps_an_object_but_never_a_mug() -> None:
    robot = thing(3, ARM, "red", 0.4, 0.4)
    assert check(one("mug", "red"), view(*MUGS, robot)).targets == {0}
    assert ARM in check(one(None, "red"), view(*MUGS, robot)).doubt


def related(kind: str, anchor: Query, family: str | None = "mug") -> Query:
    relation = Relation(kind=kind, anchor=anchor)  # type: ignore[arg-type]
    return Query(kind=Kind(family=family), relation=relation)


def test_left_and_right_are_the_viewers() -> None:
    seen = view(*MUGS)
    assert check(related("left of", one("mug", "green")), seen).targets == {0}
    assert check(related("right of", one("mug", "red")), seen).targets == {1}
    assert check(related("right of", one("mug", "red"), None), seen).doubt  # mug and plate
    assert check(related("left of", one("plate")), seen).doubt  # two mugs


def test_a_thing_hardly_further_left_leaves_doubt() -> None:
    things = (thing(0, "mug", "red", -0.01, 0.3), thing(1, "plate", "white", 0.0, 0.0))
    assert "in doubt" in check(related("left of", one("plate")), view(*things)).doubt


def test_behind_is_farther_away_and_not_beside() -> None:
    plate, behind, front = (
        one("plate"),
        related("behind", one("plate")),
        related("in front of", one("plate")),
    )

    def with_mug(x: float, y: float) -> View:
        return view(thing(0, "plate", "white", 0.0, 0.0), thing(1, "mug", "red", x, y))

    assert check(plate, with_mug(0.0, 0.2)).targets == {0}
    assert check(behind, with_mug(0.03, 0.2)).targets == {1}
    assert check(front, with_mug(0.03, -0.2)).targets == {1}
    assert "in doubt" in check(behind, with_mug(0.15, 0.1)).doubt
    assert "0 things" in check(behind, with_mug(0.0, -0.2)).doubt


def test_an_anchor_that_is_not_one_thing_is_refused() -> None:
    verdict = check(related("left of", one("mug"), "plate"), view(*MUGS))
    assert verdict.doubt.startswith("anchor")


def test_on_and_in_follow_the_scene_graph() -> None:
    tray = thing(0, "tray", "blue", 0.0, 0.0)
    cube = thing(1, "cube", "red", 0.0, 0.0, parent=0, held="on")
    top = thing(2, "cube", "green", 0.0, 0.0, parent=1, held="on")
    free = thing(2, "cube", "white", 0.3, 0.0)
    assert check(related("on", one("tray"), "cube"), view(tray, cube, free)).targets == {1}
    assert "green cube" in check(related("on", one("tray"), "cube"), view(tray, cube, top)).doubt
    assert "red cube" in check(related("in", one("tray"), "cube"), view(tray, cube, free)).doubt


def test_next_to_wants_a_small_gap() -> None:
    plate, near = thing(0, "plate", "white", 0.0, 0.0), thing(1, "mug", "red", 0.1, 0.0)
    far, middling = thing(2, "mug", "green", 0.4, 0.0), thing(2, "mug", "green", -0.15, 0.0)
    assert check(related("next to", one("plate")), view(plate, near, far)).targets == {1}
    assert check(related("next to", one("plate")), view(plate, near, middling)).doubt


def ranked(kind: str, anchor: Query | None = None) -> Query:
    return Query(kind=Kind(family="mug"), rank=Rank(kind=kind, anchor=anchor))  # type: ignore[arg-type]


def test_ranks_name_the_first_by_a_margin() -> None:
    seen = view(*MUGS)
    assert check(ranked("leftmost"), seen).targets == {0}
    assert check(ranked("rightmost"), seen).targets == {1}
    assert check(ranked("closest", one("plate")), seen).targets == {1}
    assert "too close" in check(ranked("nearest"), seen).doubt
    assert check(Query(kind=Kind(family="plate"), rank=Rank(kind="leftmost")), seen).doubt


def test_size_counts_in_the_world_and_in_the_picture() -> None:
    small, large = thing(0, "mug", "red", -0.2, 0), thing(1, "mug", "blue", 0.2, 0, extent=0.14)
    seen = view(small, large)
    assert check(ranked("largest"), seen).targets == {1}
    assert check(ranked("smallest"), seen).targets == {0}
    shrunk = replace(seen, sights=(seen.sights[0], replace(seen.sights[1], whole=100)))
    assert check(ranked("largest"), shrunk).doubt


def test_a_rank_of_many_is_refused() -> None:
    assert check(replace(ranked("leftmost"), how="all"), view(*MUGS)).doubt
