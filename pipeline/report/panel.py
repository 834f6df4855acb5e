"""The panel of a report: every expert that the recipe named, the silent ones too, with what it gave and what it cost.

What an expert was asked and what it cost lie beside the dataset, on the machine that built it. After a pull they are
not there, and the page says so; share in labels and mean score come from the shards.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from annotators.ledger import Spent
from pipeline.config import BudgetConfig
from pipeline.line import SPENDING, open_ledger
from pipeline.manifest import Manifest, PanelEntry
from pipeline.panel_usage import BUDGET, USAGE, ExpertUsage, read_usage
from pipeline.report.facts import Facts, Work

MADE = {"rewrite": "phrase", "enrich": "phrase", "ground": "box", "segment": "mask", "join": "mask"}
"""What a stage's experts make. Verifiers judge what the others made."""
SHORT = 12
"""Characters of a revision that are shown; the manifest has all of them."""

Row = dict[str, Any]


def panel(root: Path, manifest: Manifest, facts: Facts) -> dict[str, Any] | None:
    """A row per expert in the order of the line, its costs by name, and the sums; None without any expert.

    Raises:
        ValueError: a file of usage, or the ledger's prices, are unreadable; names it.
    """
    if not manifest.panel:
        return None
    usage, units = read_usage(root, range(manifest.units))
    asked = {(one.stage, one.position): one for one in usage}
    spent, priced = _spent(root)
    return {
        "rows": [
            _row(entry, manifest.panel, facts, asked.get((entry.stage, entry.position)))
            for entry in manifest.panel
        ],
        "units": units,
        "of_units": manifest.units,
        "seen": facts.seen,
        "seconds": sum(one.seconds for one in usage),
        "paid": bool(spent),
        "priced": priced,
        "spent": spent,
        "total": sum(spent.values(), Spent()),
    }


def _row(
    entry: PanelEntry, panel: Sequence[PanelEntry], facts: Facts, usage: ExpertUsage | None
) -> Row:
    work = _work(entry, panel, facts)
    score = facts.verdicts.value if entry.stage == "score" else work.score.value
    return {
        "stage": entry.stage,
        "name": _name(entry, panel),
        "model": entry.model,
        "revision": entry.revision.removeprefix("sha256:")[:SHORT],
        "whole_revision": entry.revision,
        "prompt": entry.prompt_version,
        "licence": entry.licence,
        "usage": usage,
        "coverage": usage.answered / usage.asked if usage and usage.asked else None,
        "in_labels": work.in_labels / facts.seen if facts.seen and entry.stage in MADE else None,
        "score": score,
    }


def _work(entry: PanelEntry, panel: Sequence[PanelEntry], facts: Facts) -> Work:
    """What this expert made, by its hash; by its name alone where it sits once and its hash is not in the samples."""
    made = MADE.get(entry.stage, "")
    hashed = "" if made == "phrase" else entry.config_hash
    if (found := facts.work.get((made, entry.expert, hashed))) is not None:
        return found
    alone = [e for e in panel if (e.stage, e.expert) == (entry.stage, entry.expert)] == [entry]
    named = [w for (kind, who, _), w in facts.work.items() if (kind, who) == (made, entry.expert)]
    return named[0] if alone and len(named) == 1 else Work()


def _name(entry: PanelEntry, panel: Sequence[PanelEntry]) -> str:
    twice = [e for e in panel if (e.stage, e.expert) == (entry.stage, entry.expert)]
    return entry.expert if len(twice) == 1 else f"{entry.expert} #{entry.config_hash[:6]}"


def _spent(root: Path) -> tuple[dict[str, Spent], bool]:
    """Expert -> what it has cost, and whether the build knew prices; the ledger names experts, not seats."""
    if not (root / SPENDING).exists():
        return {}, False
    budget, path = BudgetConfig(), root / USAGE / BUDGET
    if path.exists():
        try:
            budget = BudgetConfig.model_validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise ValueError(f"{path} is not readable: {error}; delete it") from error
    return open_ledger(root, budget).totals(), bool(budget.prompt_price or budget.completion_price)
