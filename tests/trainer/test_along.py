"""How methods fare along an axis: means over places, how far apart they lie, and who is left out."""

from trainer.along import along_text


def cell(x: float | None, rows: dict[str, list[float]], group: str = "probe") -> dict:
    return {
        "bench": "street",
        "group": group,
        "x": x,
        "rows": [{"method": name, "giou": giou} for name, many in rows.items() for giou in many],
    }


def test_places_are_sorted_and_means_are_taken_over_seeds_then_over_places():
    cells = [cell(0.75, {"random": [0.5, 0.7]}), cell(0.5, {"random": [0.1, 0.3]})]
    assert along_text(cells, "mask ratio").splitlines() == [
        "street, probe: giou along mask ratio",
        "method                        0.5     0.75     mean    apart",
        "random                      0.200    0.600    0.400    0.400",
    ]


def test_a_method_that_was_not_run_everywhere_is_left_out():
    cells = [cell(0.5, {"all": [0.1], "some": [0.2]}), cell(0.75, {"all": [0.1]})]
    assert [line.split()[0] for line in along_text(cells, "x").splitlines()[2:]] == ["all"]


def test_groups_have_tables_of_their_own_and_one_place_makes_none():
    both = [cell(x, {"a": [0.1]}, group) for group in ("probe", "whole") for x in (0.5, 0.75)]
    titles = [line for line in along_text(both, "x").splitlines() if "along" in line]
    assert titles == ["street, probe: giou along x", "street, whole: giou along x"]
    assert along_text([cell(0.5, {"a": [0.1]}), cell(None, {"a": [0.1]}, "one")], "x") == ""
