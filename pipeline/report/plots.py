"""Plots as inline SVG: small pure functions from numbers to markup, drawn by hand so that a report needs no script.

Colours and type come from the page's CSS (`tone-0` ... `tone-6`, told apart by dash as well as by colour), so a plot
follows the reader's light or dark mode. Every label is escaped; a plot carries its caption for screen readers. Values
that are not finite are left out. The same numbers give the same bytes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 54, 12, 14, 40
TONES = 7
Range = tuple[float, float]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line of a plot. `tone` picks its colour and dash; series that share a tone share a legend entry."""

    label: str
    points: tuple[Point, ...]
    tone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a dot plot: the single values, and the mean that is marked."""

    label: str
    values: tuple[float, ...]
    tone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """One line of a span plot: a value and the interval about it."""

    label: str
    low: float
    value: float
    high: float
    tone: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Data ranges of a plot and the maps from data to SVG units."""

    x: Range
    y: Range

    def px(self, value: float) -> float:
        return LEFT + (value - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)

    def py(self, value: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (value - self.y[0]) / (self.y[1] - self.y[0]) * (HEIGHT - TOP - BOTTOM)
        )


def line_plot(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: Range | None = None,
    y_range: Range | None = None,
    diagonal: bool = False,
    dots: bool = False,
) -> Markup:
    """Lines over two axes; `diagonal` adds the dashed line from corner to corner, `dots` marks every point."""
    kept = [(s, [p for p in s.points if _finite(*p)]) for s in series]
    points = [point for _, mine in kept for point in mine]
    if not points:
        return _empty(title)
    frame = Frame(
        x=x_range or _padded([x for x, _ in points], zero=False),
        y=y_range or _padded([y for _, y in points], zero=False),
    )
    parts = [_axes(frame, x_label, y_label)]
    if diagonal:
        parts.append(_diagonal(frame))
    for s, mine in kept:
        places = [(frame.px(x), frame.py(y)) for x, y in mine]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        tone = s.tone % TONES
        parts.append(
            f'<polyline class="line tone-{tone}" points="{path}"><title>{escape(s.label)}</title></polyline>'
        )
        if dots:
            parts += [_dot(x, y, tone) for x, y in places]
    return _svg(title, "".join(parts))


def histogram(
    counts: Sequence[int],
    edges: Sequence[float],
    *,
    title: str,
    x_label: str,
    y_label: str,
    tone: int = 1,
) -> Markup:
    """Bars between consecutive `edges` (one more than `counts`), each with its count as a tooltip."""
    assert len(edges) == len(counts) + 1, (len(edges), len(counts))
    if not sum(counts):
        return _empty(title)
    frame = Frame(x=(edges[0], edges[-1]), y=_padded([*counts], zero=True))
    bars = [
        _bar(frame, low, high, count, tone, f"{_number(low)} to {_number(high)}: {count}")
        for count, low, high in zip(counts, edges[:-1], edges[1:], strict=True)
    ]
    return _svg(title, _axes(frame, x_label, y_label) + "".join(bars))


def share_bars(
    bins: Sequence[tuple[float, float, float, int]], *, title: str, x_label: str, y_label: str
) -> Markup:
    """Reliability: for each `(low, high, share, n)` a bar of height `share` with `n` above it, and the diagonal.

    `low`, `high` and `share` are in [0, 1]; bins with n = 0 are left out.
    """
    filled = [b for b in bins if b[3]]
    if not filled:
        return _empty(title)
    frame = Frame(x=(0.0, 1.0), y=(0.0, 1.12))  # room for a count above a full bar
    parts = [_axes(frame, x_label, y_label)]
    for low, high, share, n in filled:
        told = f"{_number(low)} to {_number(high)}: {share:.2f} of {n}"
        parts.append(_bar(frame, low, high, share, 1, told))
    parts.append(_line("diagonal", frame.px(0), frame.py(0), frame.px(1), frame.py(1)))
    parts += [
        _text(f"{n:,}", "count", x=frame.px((low + high) / 2), y=frame.py(share) - 5)
        for low, high, share, n in filled
    ]
    return _svg(title, "".join(parts))


def dot_plot(rows: Sequence[Row], *, title: str, x_label: str) -> Markup:
    """One line per row: a dot per value, a tick at their mean."""
    values = [v for row in rows for v in row.values if math.isfinite(v)]
    if not values:
        return _empty(title)
    left, step = 124, 26
    base = TOP + step * len(rows)
    low, high = _padded(values, zero=False)
    scale = (WIDTH - left - RIGHT) / (high - low)
    parts = []
    for tick in _ticks(low, high):
        x = left + (tick - low) * scale
        parts.append(_line("grid", x, TOP, x, base))
        parts.append(_text(_number(tick), "tick", x=x, y=base + 15))
    for number, row in enumerate(rows):
        y = TOP + step * (number + 0.5)
        finite = [v for v in row.values if math.isfinite(v)]
        parts.append(_text(row.label, "name", x=left - 8, y=y + 4, anchor="end"))
        parts += [_dot(left + (v - low) * scale, y, row.tone % TONES) for v in finite]
        if finite:
            mean = left + (sum(finite) / len(finite) - low) * scale
            parts.append(_line("mean", mean, y - 9, mean, y + 9))
    parts.append(_text(x_label, "axis", x=(left + WIDTH - RIGHT) / 2, y=base + BOTTOM - 6))
    return _svg(title, "".join(parts), height=base + BOTTOM)


def span_plot(spans: Sequence[Span], *, title: str, x_label: str, mark: float) -> Markup:
    """One line per span: a dot at its value on a line from low to high; a dashed line down the plot at `mark`."""
    kept = [s for s in spans if _finite(s.low, s.value, s.high)]
    if not kept:
        return _empty(title)
    left, step = 140, 26
    base = TOP + step * len(kept)
    low, high = _padded([mark, *(v for s in kept for v in (s.low, s.high))], zero=False)
    scale = (WIDTH - left - RIGHT) / (high - low)
    parts = []
    for tick in _ticks(low, high):
        x = left + (tick - low) * scale
        parts.append(_line("grid", x, TOP, x, base))
        parts.append(_text(_number(tick), "tick", x=x, y=base + 15))
    at = left + (mark - low) * scale
    parts.append(_line("diagonal", at, TOP, at, base))
    for number, s in enumerate(kept):
        y = TOP + step * (number + 0.5)
        start, middle, end = (left + (v - low) * scale for v in (s.low, s.value, s.high))
        tone = s.tone % TONES
        parts.append(_text(s.label, "name", x=left - 8, y=y + 4, anchor="end"))
        parts.append(_line(f"span tone-{tone}", start, y, end, y))
        told = f"{s.label}: {s.value:.3f}, {s.low:.3f} to {s.high:.3f}"
        parts.append(f"<g>{_dot(middle, y, tone)}<title>{escape(told)}</title></g>")
    parts.append(_text(x_label, "axis", x=(left + WIDTH - RIGHT) / 2, y=base + BOTTOM - 6))
    return _svg(title, "".join(parts), height=base + BOTTOM)


def legend(entries: Sequence[tuple[str, int]]) -> Markup:
    """(label, tone) pairs as an HTML legend; an entry that comes twice is shown once."""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 26 10" aria-hidden="true">'
        f'<line class="line tone-{tone % TONES}" x1="1" y1="5" x2="25" y2="5"/></svg>{escape(label)}</li>'
        for label, tone in dict.fromkeys(entries)
    )
    return Markup(f'<ul class="legend">{items}</ul>')


def thin(points: Sequence[Point], at_most: int = 120) -> tuple[Point, ...]:
    """At most `at_most` points: means of runs of equal length, so that a long noisy curve stays readable."""
    points = [p for p in points if _finite(*p)]
    if len(points) <= at_most:
        return tuple(points)
    run = math.ceil(len(points) / at_most)
    groups = [points[i : i + run] for i in range(0, len(points), run)]
    return tuple((sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups)


def _axes(frame: Frame, x_label: str, y_label: str) -> str:
    base = HEIGHT - BOTTOM
    parts = []
    for tick in _ticks(*frame.y):
        y = frame.py(tick)
        parts.append(_line("grid", LEFT, y, WIDTH - RIGHT, y))
        parts.append(_text(_number(tick), "tick", x=LEFT - 6, y=y + 4, anchor="end"))
    for tick in _ticks(*frame.x):
        parts.append(_text(_number(tick), "tick", x=frame.px(tick), y=base + 15))
    parts.append(_line("base", LEFT, base, WIDTH - RIGHT, base))
    parts.append(_text(x_label, "axis", x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6))
    parts.append(
        f'<text class="axis" transform="translate(11 {(TOP + base) / 2:.0f}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_label)}</text>'
    )
    return "".join(parts)


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _diagonal(frame: Frame) -> str:
    (x1, x2), (y1, y2) = frame.x, frame.y
    return _line("diagonal", frame.px(x1), frame.py(y1), frame.px(x2), frame.py(y2))


def _bar(frame: Frame, low: float, high: float, value: float, tone: int, told: str) -> str:
    x, width, y = frame.px(low), frame.px(high) - frame.px(low), frame.py(value)
    return (
        f'<rect class="bar tone-{tone % TONES}" x="{x + 0.75:.1f}" y="{y:.1f}" '
        f'width="{max(0.5, width - 1.5):.1f}" height="{frame.py(0) - y:.1f}"><title>{escape(told)}</title></rect>'
    )


def _dot(x: float, y: float, tone: int) -> str:
    return f'<circle class="dot tone-{tone}" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>'


def _text(text: str, kind: str, *, x: float, y: float, anchor: str = "middle") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(title: str, body: str, height: int = HEIGHT) -> Markup:
    """The one place where markup is declared safe: every label in `body` was escaped where it was set."""
    name = escape(title)
    return Markup(
        f'<figure class="plot"><figcaption>{name}</figcaption><svg viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{name}">{body}</svg></figure>'
    )


def _empty(title: str) -> Markup:
    return Markup(
        f'<figure class="plot"><figcaption>{escape(title)}</figcaption>'
        '<p class="none">Nothing to draw: no values.</p></figure>'
    )


def _finite(*values: float) -> bool:
    return all(math.isfinite(v) for v in values)


def _padded(values: Sequence[float], *, zero: bool) -> Range:
    low, high = (0.0 if zero else min(values)), max(values)
    if high <= low:
        return (low, low + 1.0) if zero else (low - 0.5, low + 0.5)
    pad = 0.06 * (high - low)
    return (low if zero else low - pad, high + pad)


def _ticks(low: float, high: float, target: int = 5) -> list[float]:
    """Round numbers inside [low, high], about `target` of them."""
    raw = (high - low) / target
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.75 * raw)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def _number(value: float) -> str:
    """Short and exact enough for an axis.

    >>> [_number(v) for v in (0.30000000000000004, 1200.0, 2500000.0, 0.0015, 0.0)]
    ['0.3', '1,200', '2.5M', '1.5e-3', '0']
    """
    size = abs(value)
    if size >= 1e6:
        return f"{value / 1e6:.3g}M"
    if size >= 1000:
        return f"{value:,.0f}"
    if 0 < size < 1e-2:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.3g}"
