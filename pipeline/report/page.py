"""One self-contained HTML page about a dataset and, where there are any, the runs that learnt from it.

It only reads: manifest, receipts, rejects, verified shards, sidecars, usage, run folders, compare.json. Nothing is
loaded from elsewhere: style, plots and photographs are inside the page, which holds no script. All text that comes from
data is escaped. A section whose input does not exist says in one line which command makes it. The same files give the
same bytes: no clock, no random choice.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from annotators.masks import BoolMask
from pipeline.manifest import MANIFEST, read_manifest
from pipeline.records import Sample
from pipeline.report import sections
from pipeline.report.evidence import evidence
from pipeline.report.facts import Facts, fetch, gather
from pipeline.report.funnel import funnel
from pipeline.report.gallery import Card, choose, prediction_card, sample_card
from pipeline.report.missingness import missingness
from pipeline.report.panel import panel
from pipeline.report.runs import (
    METRICS,
    Result,
    Run,
    read_comparison,
    read_predictions,
    read_run,
    runs_beside,
)
from pipeline.report.study import study as read_study
from pipeline.report.trust import trust
from pipeline.shards import write_atomic

TEMPLATES = Path(__file__).parent / "templates"
FAILURES_PER_RUN = 4
FAILURE_RUNS = 5
LOOKED_AT = 48
"""Worst predictions of a run among which `FAILURES_PER_RUN` are picked, one a photograph."""


def write_report(
    root: Path,
    out: Path | None = None,
    runs: Sequence[Path] = (),
    compare: Path | None = None,
    tests: Sequence[Path] = (),
    study: Path | None = None,
    vqa: Sequence[Path] = (),
) -> Path:
    """Write the report of the dataset folder `root` to `out` (default: `root/report.html`) and return its path.

    Args:
        root: a finished dataset folder.
        out: the HTML file; replaced when it exists.
        runs: folders of training runs, with run.json, log.jsonl and results/; when there are none, those beside
            `compare`.
        compare: a compare.json.
        tests: dataset folders that the runs were evaluated on, for the photographs of the failures; besides these,
            `root` and the folders beside it are tried.
        study: a study.json.
        vqa: folders of `maskmix vqa-bench`, to be set side by side.

    Raises:
        ValueError: the dataset is unfinished or damaged, or a file of a run is damaged; names it.
        OSError: `out` cannot be written.
    """
    manifest = read_manifest(root)
    facts = gather(root)
    comparison = read_comparison(compare) if compare else None
    read = [read_run(folder) for folder in runs]
    if compare and comparison and not read:
        read = runs_beside(compare, comparison)
    failures, unseen = _failures(root, read, tests)
    page = _environment().get_template("report.html.j2").render(
        manifest=manifest,
        recipe=yaml.safe_dump(manifest.recipe, sort_keys=False, allow_unicode=True),
        funnel=funnel(root, manifest.totals),
        facts=facts,
        key=_key_numbers(facts),
        gallery=_gallery(root, facts),
        panel=panel(root, manifest, facts),
        experts=sections.experts(facts),
        trust=trust(root),
        labels=sections.labels(facts),
        quality=sections.quality(facts),
        discriminator=sections.discriminator(root),
        missingness=missingness(root, vqa),
        training=sections.training(read),
        evaluation=sections.evaluation(read),
        evidence=evidence(read),
        comparison=comparison,
        metric_names=METRICS,
        comparison_plot=sections.comparison_plot(comparison) if comparison else None,
        study=read_study(study) if study else None,
        failures=failures,
        unseen=unseen,
    )  # fmt: skip
    target = out or root / "report.html"
    write_atomic(target, page.encode())
    return target


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(num=_num, pct=_pct)
    return environment


def _key_numbers(facts: Facts) -> Mapping[str, Any]:
    """What the head of the page says in large type."""
    targeted = [f.label_iou for f in facts.samples if f.label_iou is not None and not f.gold_empty]
    return {
        "photographs": len({f.image for f in facts.samples}),
        "experts": len(facts.experts),
        "label_iou": sum(targeted) / len(targeted) if targeted else None,
        "golden": len(targeted),
    }


def _gallery(root: Path, facts: Facts) -> list[Card]:
    choices = choose(facts.samples)
    found = fetch(root, [choice.id for choice in choices])
    return [sample_card(found[choice.id], choice.why) for choice in choices]


def _failures(
    root: Path, runs: Sequence[Run], tests: Sequence[Path]
) -> tuple[list[Card], list[str]]:
    """Cards of the worst predictions, of one run per method; and the runs whose photographs were not found."""
    cards: list[Card] = []
    unseen: list[str] = []
    of_method: dict[str, Run] = {}
    for run in runs:
        if any(result.predictions for result in run.results):
            of_method.setdefault(run.method, run)
    for run in list(of_method.values())[:FAILURE_RUNS]:
        result = next(r for r in run.results if r.predictions)
        assert result.predictions is not None
        worst = read_predictions(result.predictions, LOOKED_AT)
        found = _photographs([sample_id for sample_id, _, _ in worst], root, result, tests)
        if found is None:
            unseen.append(f"{run.name} on {result.name}")
            continue
        by_photograph: dict[str, tuple[str, float, BoolMask]] = {}
        for one in worst:
            by_photograph.setdefault(found[one[0]].source.image_sha256, one)
        cards += [
            prediction_card(found[sample_id], mask, value, run.name)
            for sample_id, value, mask in list(by_photograph.values())[:FAILURES_PER_RUN]
        ]
    return cards, unseen


def _photographs(
    ids: Sequence[str], root: Path, result: Result, tests: Sequence[Path]
) -> dict[str, Sample] | None:
    """The samples `ids` from a folder of `tests`, or from `root` or beside it where the dataset's name is right."""
    beside = sorted(path.parent for path in root.resolve().parent.glob(f"*/{MANIFEST}"))
    named = [near for near in (root, *beside) if result.dataset in _names(near)]
    for folder in (*tests, *named):
        found = fetch(folder, ids)
        if len(found) == len(set(ids)):
            return found
    return None


def _names(folder: Path) -> set[str]:
    """What a result may call a dataset, with and without its split; nothing for a neighbour that is none of ours."""
    try:
        manifest = read_manifest(folder)
    except ValueError:
        return set()
    return {manifest.name, f"{manifest.name}-{manifest.split}"}


def _num(value: float | int | None, digits: int = 3) -> str:
    """A number for a table; an en dash for None. Counts keep their digits, grouped."""
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.{digits}f}"


def _pct(value: float | None) -> str:
    """A share as per cent, one decimal below ten."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"
