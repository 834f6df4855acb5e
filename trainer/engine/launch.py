"""Ray Train starts the processes: a group of workers over a cluster, restarted when one of them dies.

Ray places the processes, connects them (torch.distributed) and notices deaths; what they run is the loop of one process
(trainer.engine.loop), and what they resume from is the run folder's checkpoint, which all must see on a disk that they
share. Ray's own checkpoints are not used: they would be a second truth. A worker that raises is restarted too, so what
goes wrong each time is raised here after the last try.

Signals reach this process and not the workers, so they are passed on through a file in the run folder.
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainer.engine.checkpoint import newest_step
from trainer.engine.config import RunConfig
from trainer.engine.distributed import World, world_of_group
from trainer.engine.loop import CHECKPOINTS
from trainer.engine.stop import Interrupted, Stop

LOG = logging.getLogger(__name__)
STOP_FILE = "stop"
HOME = "ray"
"""Folder in the run folder for what Ray Train keeps about its group."""

Work = Callable[[World], None]


def train_on_ray(work: Work, *, folder: Path, run: RunConfig, workers: int | None = None) -> None:
    """Run `work` in `workers` processes of a Ray cluster: the one of RAY_ADDRESS, or one made for this call.

    Args:
        work: what each process does, given its world; it must cross to other processes.
        folder: the run folder, absolute.
        run: `device` says whether each process needs a GPU, `restarts` how often a group is started again.
        workers: processes; one for each GPU of the cluster, or one, when None.

    Raises:
        ValueError: the cluster is too small, or `work` raised a ValueError.
        Interrupted: SIGTERM or SIGINT came, and the processes saved their state.
        RuntimeError: the processes failed more often than `run.restarts` allows; names what they said.
    """
    import ray

    from pipeline.crew import cluster

    stop_file = folder / STOP_FILE
    stop_file.unlink(missing_ok=True)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # its default is a warning
    try:
        with cluster(workers, spare=1), Stop(tell=stop_file) as stop:
            gpus = int(ray.cluster_resources().get("GPU", 0))
            use_gpu = run.device == "cuda" or (run.device == "auto" and gpus > 0)
            count = workers or (max(1, gpus) if use_gpu else 1)
            _check_fit(count, use_gpu)
            _run_group(work, folder, run, count=count, use_gpu=use_gpu)
            if stop.asked() and stop_file.exists():
                raise Interrupted(stop.asked(), newest_step(folder / CHECKPOINTS))
    finally:
        stop_file.unlink(missing_ok=True)


def _check_fit(count: int, use_gpu: bool) -> None:
    import ray

    needed = "GPU" if use_gpu else "CPU"
    has = int(ray.cluster_resources().get(needed, 0))
    if count > has:
        raise ValueError(
            f"{count} workers need as many {needed}s; the cluster has {has}: ask for fewer with --workers"
            + (", or set run.device=cpu" if use_gpu else "")
        )


def _run_group(work: Work, folder: Path, run: RunConfig, *, count: int, use_gpu: bool) -> None:
    from ray.train import FailureConfig, LoggingConfig, ScalingConfig
    from ray.train import RunConfig as RayRunConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        _on_worker,
        train_loop_config={
            "work": work,
            "stop_file": folder / STOP_FILE,
            "minutes": run.timeout_minutes,
        },
        torch_config=TorchConfig(
            backend="nccl" if use_gpu else "gloo", timeout_s=round(60 * run.timeout_minutes) or 1
        ),
        scaling_config=ScalingConfig(num_workers=count, use_gpu=use_gpu),
        run_config=RayRunConfig(
            storage_path=str(folder / HOME),
            failure_config=FailureConfig(max_failures=run.restarts),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    # in a thread of its own, or Ray would take SIGINT for itself
    ended: list[BaseException | None] = []

    def fit() -> None:
        try:
            trainer.fit()
            ended.append(None)
        except Exception as error:
            ended.append(error)

    thread = threading.Thread(target=fit, daemon=True, name="ray-train")
    thread.start()
    thread.join()
    if (error := ended[0]) is not None:
        raise _plain(error) from error


def _on_worker(config: dict[str, Any]) -> None:
    """What each process of the group runs."""
    from ray.train.torch import get_device

    device = get_device()
    assert isinstance(device, torch.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    world = world_of_group(device, minutes=config["minutes"], stop_file=config["stop_file"])
    try:
        config["work"](world)
    except Interrupted as stop:  # an error would have the group restarted
        LOG.warning("process %d stopped: %s", world.rank, stop)


def _plain(error: BaseException) -> Exception:
    """What went wrong in the group as a user should read it: a ValueError of the training as one of ours."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    for rank, failure in sorted(failures.items()):
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, ValueError):
                return ValueError(str(cause))
            cause = cause.__cause__
        LOG.error("process %d: %s", rank, failure)
    return RuntimeError(f"the group of processes failed and was not restarted again: {error}")
