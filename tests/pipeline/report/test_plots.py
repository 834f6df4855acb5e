"""Plots: right places, escaped labels, no numbers invented for what is missing."""

import xml.etree.ElementTree as ET

import pytest

from pipeline.report.plots import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Row,
    Series,
    dot_plot,
    histogram,
    legend,
    line_plot,
    share_bars,
    thin,
)

LINE = {"title": "t", "x_label": "x", "y_label": "y"}


def parts(markup: str, tag: str, kind: str = "") -> list[ET.Element]:
    return [e for e in ET.fromstring(markup).iter(tag) if kind in (e.get("class") or "")]


def test_a_line_runs_from_corner_to_corner_of_its_ranges():
    plot = line_plot(
        [Series(label="a", points=((0, 0), (1, 1)))], x_range=(0, 1), y_range=(0, 1), **LINE
    )
    (line,) = parts(plot, "polyline")
    expected = f"{LEFT:.1f},{HEIGHT - BOTTOM:.1f} {WIDTH - RIGHT:.1f},{TOP:.1f}"
    assert line.get("points") == expected


def test_bar_heights_are_proportional_to_counts():
    bars = parts(histogram([1, 0, 4], [0, 1, 2, 3], **LINE), "rect")
    heights = [float(bar.get("height", "")) for bar in bars]
    assert heights[1] == 0
    assert heights[2] == pytest.approx(4 * heights[0], abs=0.5)
    assert bars[2][0].text == "2 to 3: 4"


def test_reliability_leaves_out_empty_bins_and_names_their_number():
    plot = share_bars([(0, 0.5, 0.25, 8), (0.5, 1, 0.0, 0)], **LINE)
    assert len(parts(plot, "rect")) == 1
    assert [e.text for e in parts(plot, "text", "count")] == ["8"]


def test_a_dot_plot_marks_every_value_and_one_mean_a_row():
    plot = dot_plot(
        [Row(label="a", values=(0.1, 0.3)), Row(label="b", values=())], title="t", x_label="x"
    )
    dots = [float(e.get("cx", "")) for e in parts(plot, "circle")]
    (mean,) = parts(plot, "line", "mean")
    assert float(mean.get("x1", "")) == pytest.approx(sum(dots) / 2, abs=0.1)


def test_labels_are_escaped():
    evil = "<script>alert('x')</script>"
    plots = [
        line_plot(
            [Series(label=evil, points=((0, 1), (1, 2)))], title=evil, x_label=evil, y_label=evil
        ),
        histogram([1], [0, 1], title=evil, x_label=evil, y_label=evil),
        share_bars([(0, 1, 0.5, 2)], title=evil, x_label=evil, y_label=evil),
        dot_plot([Row(label=evil, values=(1.0,))], title=evil, x_label=evil),
        legend([(evil, 0)]),
        histogram([0], [0, 1], title=evil, x_label=evil, y_label=evil),
    ]
    for plot in plots:
        assert "<script" not in plot
        assert "&lt;script&gt;" in plot
        ET.fromstring(plot)  # and it is well-formed


def test_values_that_are_not_finite_are_left_out():
    points = ((0, 1.0), (1, float("nan")), (2, 3.0), (3, float("inf")))
    (line,) = parts(line_plot([Series(label="a", points=points)], **LINE), "polyline")
    assert len((line.get("points") or "").split()) == 2


def test_no_values_say_so_instead_of_drawing_axes():
    nothing = [
        line_plot([], **LINE),
        line_plot([Series(label="a", points=())], **LINE),
        histogram([0, 0], [0, 1, 2], **LINE),
        share_bars([(0, 1, 0.0, 0)], **LINE),
        dot_plot([], title="t", x_label="x"),
    ]
    assert all("Nothing to draw" in plot and "<svg" not in plot for plot in nothing)


def test_a_constant_series_still_has_axes():
    plot = line_plot([Series(label="a", points=((0, 2.0), (1, 2.0)))], **LINE)
    assert len(parts(plot, "text", "tick")) >= 4


@pytest.mark.parametrize("scale", [1e-6, 0.003, 1.0, 47.0, 8.1e6])
def test_ticks_are_few_at_every_scale(scale):
    plot = line_plot([Series(label="a", points=((0, 0.0), (1, scale)))], **LINE)
    ticks = [e.text for e in parts(plot, "text", "tick")]
    assert 6 <= len(ticks) <= 18
    assert all(tick and len(tick) <= 8 for tick in ticks)


def test_a_legend_names_a_label_once():
    assert legend([("a", 0), ("b", 1), ("a", 0)]).count("<li>") == 2


def test_thinning_keeps_means_and_short_curves():
    long = [(float(n), float(n % 2)) for n in range(1000)]
    short = thin(long, 100)
    assert len(short) == 100
    assert {y for _, y in short} == {0.5}
    assert thin(long[:5], 100) == tuple(long[:5])
