"""A run folder: bound to what it belongs to, and filled by whoever trains together.

`run.json` is written first and says what is trained on what with which seed; the folder belongs to that for ever, and
to no number of processes. What a training ends with is a file of its own that is written last, so its existence means
that the run is finished.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel

from pipeline.config import recipe_hash
from pipeline.shards import write_atomic
from trainer.data.config import DataConfig
from trainer.engine.config import RunConfig
from trainer.engine.distributed import World, joined

RUN = "run.json"
Facts = dict[str, Any]


def run_facts(
    recipe: BaseModel, *, dataset: str, dataset_hash: str, method: str, seed: int
) -> Facts:
    """What every run folder belongs to."""
    return {
        "dataset": dataset,
        "dataset_hash": dataset_hash,
        "method": method,
        "recipe": recipe.model_dump(mode="json"),
        "recipe_hash": recipe_hash(recipe),
        "seed": seed,
        "torch": torch.__version__,
    }


def start(
    work: Callable[[World], None],
    *,
    facts: Callable[[], Facts],
    out: Path,
    finished: str | None,
    run: RunConfig,
    on: Literal["here", "ray"],
    workers: int | None,
) -> Path:
    """Have `work` done by this process, by those that torchrun started, or by those of a Ray cluster.

    Args:
        work: what each process does, given its world; it must cross to other processes.
        facts: what the folder belongs to; asked before a cluster is.
        out: the run folder.
        finished: name of the file that a finished run has; None: there is none, and `work` is done again.
        run: where it runs.
        on: here: this process, or those that torchrun started. ray: Ray Train starts them.
        workers: how many processes Ray starts; one for each GPU of its cluster, or one, when None.

    Returns:
        `out`.

    Raises:
        ValueError: `out` is of another run, or `workers` is given without Ray.
    """
    if workers is not None and on != "ray":
        raise ValueError("workers is for on='ray'; torchrun says by itself how many it starts")
    if on == "ray":
        from trainer.engine.launch import train_on_ray

        claim(out, facts())
        if finished is None or not (out / finished).exists():
            train_on_ray(work, folder=out.resolve(), run=run, workers=workers)
        return out
    with joined(run.device, minutes=run.timeout_minutes) as world:
        work(world)
    return out


def claim(out: Path, facts: Facts, *, write: bool = True) -> None:
    """Bind a folder to `facts`, or find it bound to them.

    Args:
        out: the run folder; made where it is not there.
        facts: may be less than what stands there.
        write: whether this process is the one that writes.

    Raises:
        ValueError: it is bound to others.
    """
    path = out / RUN
    if not path.exists():
        if write:
            out.mkdir(parents=True, exist_ok=True)
            write_facts(out, facts)
        return
    have = json.loads(path.read_bytes())
    odd = [key for key, value in facts.items() if have.get(key) != value]
    if odd:
        raise ValueError(
            f"{out} holds another run ({', '.join(f'{k}: {_brief(have.get(k))}' for k in odd)}); "
            "choose another folder, or delete this one"
        )


def settle_lanes(out: Path, data: DataConfig, world: World) -> DataConfig:
    """`data` with the lanes that the run in `out` draws from, however many processes go on with it.

    Where the recipe leaves them to the number of processes, those of the first start are kept in run.json: with other
    lanes an epoch would go on in another order, and miss as many samples as it repeats.

    Raises:
        ValueError: as many processes as there are now cannot share the lanes of the first start.
    """
    if data.lanes is not None:
        return data
    if world.leads:
        facts = json.loads((out / RUN).read_bytes())
        if "lanes" not in facts:
            write_facts(out, {**facts, "lanes": world.size})
    world.meet()
    lanes = json.loads((out / RUN).read_bytes())["lanes"]
    if lanes % world.size:
        raise ValueError(
            f"{out} was begun by {lanes} process(es), each with a part of the data of its own, which {world.size} "
            f"cannot share; go on with {lanes} or a divisor, or begin anew with data.lanes={world.size} or a multiple"
        )
    return data.model_copy(update={"lanes": lanes})


def write_facts(out: Path, facts: Facts) -> None:
    """Write run.json."""
    text = json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False)
    write_atomic(out / RUN, text.encode() + b"\n")


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:37] + "..."
