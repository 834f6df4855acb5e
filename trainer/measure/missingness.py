"""Does a discriminator judge by the mask's shape, or by the colour of what hides the rest?

Hiding pixels says something itself (missingness bias, Jain et al. 2022, arXiv 2204.08945; masked input for CNNs keeps
the mask's outline): a judge may know labels by their silhouettes and never look at the photograph. Here machine labels
that audit gold knows to be right (IoU >= 0.5) or wrong are judged again, by the fold's discriminator that has not
learnt from their photograph, with something taken away. Four views leave the mask as it is:

    constant     the photograph is one grey; the instruction stays
    noise        the photograph is noise, another one for each
    other_image  the photograph is another one of the same fold
    shape_only   one grey, and the instruction of another sample: nothing but the mask is left

AUC far above 0.5 there is a prior on shapes; `kept` is its share of what the judge knows, (AUC - 0.5) / (AUC as it is
- 0.5). And five views show the photograph under the mask, over each of `trainer.measure.fills`: a judge that composes
(trainer.models.judge.Composing) sees them in place of its white, another one in place of the photograph, which it was
never taught on. What one p_clean moves by when only the fill changes is no judgement of the mask.

That the folds are respected is checked, not believed: with nothing taken away, the scores must be those of the sidecar.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from annotators.models.torch_model import pick_device
from pipeline.shards import write_atomic
from pipeline.sidecar import labels_sidecar, read_sidecar
from trainer.data.table import Table, load_table, take
from trainer.losses import SAME
from trainer.measure.auc_intervals import auc_interval
from trainer.measure.fills import FILLS, LEVELS, fill
from trainer.models.judge import Composing
from trainer.models.looking import look_through
from trainer.models.saved_judge import SavedJudge, load_judge
from trainer.use.effects import compose

KIND = "missingness"
AS_IS = "as_is"
BLIND = ("constant", "noise", "other_image", "shape_only")
NEAR = 5e-3
"""Mean difference of scores from the sidecar's that rounding may make, as on another device; other judges make more."""
AT_ONCE = 256
"""Labels whose pictures are made together."""
Floats = NDArray[np.float64]


def missingness(
    root: Path, *, judges: Path, sidecar: str = "weights", seed: int = 0, device: str = "auto"
) -> dict[str, Any]:
    """Judge the audited labels of a dataset in all views and write `sidecars/{sidecar}_missingness.json`.

    Args:
        root: a dataset folder that was judged.
        judges: what `maskmix discriminate --out` kept then: `fold-0`, `fold-1`, ...
        sidecar: the weights sidecar that those judges left.
        seed: of noise, of what is exchanged, and of the bootstrap.
        device: "auto", "cpu" or "cuda".

    Returns:
        What the JSON file holds (data_cards/FORMAT.md).

    Raises:
        ValueError: the dataset was not judged, a fold's discriminator is missing or is not the one that left the
            sidecar, or audit gold does not know right and wrong labels on two photographs of each fold.
    """
    stored = read_sidecar(root, labels_sidecar(sidecar)).to_pydict()
    at = {sample_id: row for row, sample_id in enumerate(stored["sample_id"])}
    folds = range(max(stored["fold"]) + 1)
    first = load_judge(judges / "fold-0")
    table = load_table(root, size_hw=first.size_hw)
    if set(table.ids) != set(at):
        raise ValueError(
            f"sidecar {labels_sidecar(sidecar)!r} is of another build than {root}: run `maskmix discriminate` again"
        )
    known = ~table.is_gold.numpy() & np.isfinite(table.label_iou.numpy())
    audited = take(table, np.flatnonzero(known).tolist())
    fold_of = np.array([stored["fold"][at[i]] for i in audited.ids], np.int64)
    before = np.array([stored["p_label"][at[i]] for i in audited.ids], np.float64)
    right = audited.label_iou.numpy() >= SAME
    if not 0 < right.sum() < len(right) or not set(fold_of.tolist()) <= set(folds):
        raise ValueError(
            f"{root} has {len(right)} machine labels with audit gold, {int(right.sum())} of them right; expected right "
            "and wrong ones, judged in folds"
        )
    said = {view: np.empty(len(right)) for view in (AS_IS, *BLIND, *FILLS)}
    composes = isinstance(first.judge, Composing)
    for fold in sorted(set(fold_of.tolist())):
        saved = load_judge(judges / f"fold-{fold}")
        cast(torch.nn.Module, saved.judge).to(pick_device(device))
        mine = fold_of == fold
        if saved.size_hw != table.size_hw:
            raise ValueError(f"{judges}: fold {fold} sees {saved.size_hw}, fold 0 {table.size_hw}")
        found = judge_views(saved, take(audited, np.flatnonzero(mine).tolist()), seed=seed)
        for view, scores in found.items():
            said[view][mine] = scores
    far = float(np.abs(said[AS_IS] - before).mean())
    if far > NEAR:
        raise ValueError(
            f"{judges} did not leave sidecar {labels_sidecar(sidecar)!r}: scores are {far:.3f} apart on average, so a "
            "judge may have learnt from what it is asked about; give the folder of that `maskmix discriminate --out`"
        )
    facts = {
        "format": 1,
        "kind": KIND,
        "composes": composes,
        "seed": seed,
        **measure_views(said, right=right, images=audited.shas, seed=seed),
    }
    text = json.dumps(facts, indent=1, sort_keys=True, allow_nan=False)
    write_atomic(root / "sidecars" / f"{sidecar}_missingness.json", text.encode() + b"\n")
    return facts


def judge_views(saved: SavedJudge, table: Table, *, seed: int = 0) -> dict[str, Floats]:
    """p_clean of every label of `table` in every view: float64 n by view.

    Args:
        saved: a judge that learnt from none of these photographs, in evaluation mode.
        table: machine labels of at least two photographs; what is exchanged is exchanged among them.
        seed: of noise and exchanges.

    Raises:
        ValueError: there is one photograph only.
    """
    if len(set(table.shas)) < 2:
        raise ValueError(
            "a fold has audit gold on fewer than two photographs; use fewer folds, or label more by hand"
        )
    rng = np.random.default_rng(seed)
    image_from = table.image_of[torch.from_numpy(others(table.shas, rng))]
    text_from = others([texts[0] for texts in table.instructions], rng)
    words = tuple(table.instructions[row] for row in text_from.tolist())
    judged = replace(table, target=table.label)
    grey = _flat(judged, LEVELS["grey"])
    whole: dict[str, Table] = {
        AS_IS: judged,
        "constant": grey,
        "other_image": replace(judged, image_of=image_from),
        "shape_only": replace(grey, instructions=words),
    }
    parts: dict[str, Callable[[Table], Table]] = {
        "noise": lambda some: _each(some, lambda image, _, sha: _noise(image, sha, seed)),
    }
    for name in FILLS:
        parts[name] = lambda some, name=name: _each(
            some, lambda image, mask, _: compose(image, fill(image, name), mask)
        )
    found: dict[str, Floats] = {}
    for view in (AS_IS, *BLIND, *FILLS):
        made = [
            verdicts(
                saved,
                parts[view](some) if view in parts else some,
                shown=view in FILLS and isinstance(saved.judge, Composing),
            )
            for some in _pieces(whole.get(view, judged))
        ]
        found[view] = np.concatenate(made)
    return found


@torch.no_grad()
def verdicts(saved: SavedJudge, table: Table, *, shown: bool = False) -> Floats:
    """p_clean of the targets, float64 n in [0, 1]; `shown`: the images are what a mask has left of them already."""
    rows: list[Floats] = []
    for _, frames, sight in look_through(saved.judge, table, tokenizer=saved.tokenizer):
        if shown:
            logits = cast(Composing, saved.judge).judge_shown(sight, sight.image)
        else:
            mask = frames.target[:, None].to(sight.image.device).float() / 255.0
            logits = saved.judge.judge(sight, mask)
        rows.append(logits.float().sigmoid().cpu().double().numpy())
    return np.concatenate(rows)


def others(keys: Sequence[str], rng: np.random.Generator) -> NDArray[np.int64]:
    """For each row a random row of another key, int64 n; any row where all keys are one."""
    named = np.array(keys)
    found = rng.integers(len(keys), size=len(keys))
    while len(set(keys)) > 1 and (same := named[found] == named).any():
        found[same] = rng.integers(len(keys), size=int(same.sum()))
    return found


def measure_views(
    said: dict[str, Floats], *, right: NDArray[np.bool_], images: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """AUCs of right against wrong labels in each view, with intervals, and how fills move p_clean.

    Args:
        said: p_clean by view, float64 n.
        right: bool n.
        images: of each label, n.
        seed: of the bootstrap.
    """

    def row(view: str) -> dict[str, Any]:
        found = asdict(auc_interval(right, said[view], images, seed=seed))
        named = {"auc": found["value"], "low": found["low"], "high": found["high"]}
        return {key: _round(v) for key, v in named.items()} | {"p_mean": _round(said[view].mean())}

    views = {view: row(view) for view in (AS_IS, *BLIND)}
    fills = {name: row(name) for name in FILLS}
    knows = views[AS_IS]["auc"] - 0.5
    for found in (*views.values(), *fills.values()):
        found["kept"] = _round((found["auc"] - 0.5) / knows) if knows > 0 else None
    moves = [
        {"a": a, "b": b, "moved": _round(np.abs(said[a] - said[b]).mean()), "rank": _rank(said[a], said[b])}
        for a, b in combinations(FILLS, 2)
    ]  # fmt: skip
    return {
        "labels": len(right),
        "right": int(right.sum()),
        "images": len(set(images)),
        "views": views,
        "fills": fills,
        "moves": moves,
    }


def missingness_lines(facts: dict[str, Any]) -> list[str]:
    """What `missingness` found, for a terminal."""
    lines = [
        f"{facts['labels']} machine labels of {facts['images']} photographs, {facts['right']} right, out of fold",
        f"{'shown':<22} AUC    95 %            kept   mean p_clean",
    ]
    over = "photograph over " if facts["composes"] else "masked over "
    rows = [*facts["views"].items(), *((over + k, v) for k, v in facts["fills"].items())]
    for name, row in rows:
        kept = "-" if row["kept"] is None else f"{row['kept']:.0%}"
        lines.append(
            f"{name:<22} {row['auc']:.3f}  {row['low']:.3f} to {row['high']:.3f}  {kept:>5}  {row['p_mean']:.3f}"
        )
    most = max(facts["moves"], key=lambda move: move["moved"])
    rank = "-" if most["rank"] is None else f"{most['rank']:.2f}"
    return [
        *lines,
        f"p_clean moves most from {most['a']} to {most['b']}: by {most['moved']:.3f}, rank correlation {rank}",
    ]


def _pieces(table: Table) -> list[Table]:
    rows = range(len(table))
    return [take(table, rows[at : at + AT_ONCE]) for at in range(0, len(table), AT_ONCE)]


def _flat(table: Table, level: int) -> Table:
    one = torch.full_like(table.images[:1], level)
    return replace(table, images=one, image_of=torch.zeros_like(table.image_of))


def _each(table: Table, make: Callable[[Any, Any, str], NDArray[np.uint8]]) -> Table:
    """The table with an image for each label: of RGB uint8 (h, w, 3), its mask float32 (h, w) in [0, 1], and sha256."""
    made = [
        make(
            table.images[table.image_of[row]].permute(1, 2, 0).contiguous().numpy(),
            table.label[row].numpy().astype(np.float32) / np.float32(255),
            table.shas[row],
        )
        for row in range(len(table))
    ]
    images = torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous()
    return replace(table, images=images, image_of=torch.arange(len(table)))


def _noise(image: NDArray[np.uint8], sha: str, seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng([seed, int(sha[:12], 16)])
    return rng.integers(0, 256, image.shape, np.uint8)


def _rank(a: Floats, b: Floats) -> float | None:
    """Spearman's correlation; None where one side is constant."""
    from scipy.stats import rankdata

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return _round(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


def _round(value: Any) -> float:
    return round(float(value), 6)
