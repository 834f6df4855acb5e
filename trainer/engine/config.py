"""How long, how fast and how exactly a model is trained, and where it runs, as a recipe says it."""

from typing import Literal

from pydantic import Field

from pipeline.config import Strict


class OptimConfig(Strict):
    """AdamW with linear warm-up and a cosine to zero."""

    steps: int = Field(default=500, ge=1)
    lr: float = Field(default=2e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    warmup: int = Field(default=50, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of an exponential moving average of the parameters, used for the final model; 0 keeps none."""
    accumulate: int = Field(default=1, ge=1)
    """Equal parts that a process cuts its share of a batch into, one forward and backward pass each, to need less
    memory. Moves only the last bits, but for methods that compare the samples of a batch: they see one part."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: matrix products and convolutions of the model under autocast; parameters and losses stay float32."""
    checkpoint_every: int = Field(default=250, ge=1)
    log_every: int = Field(default=10, ge=1)
    max_bad_steps: int = Field(default=20, ge=0)
    """Steps with a non-finite loss or gradient that are skipped before training gives up; counted on the device and
    looked at when a log line or a checkpoint is due."""


class RunConfig(Strict):
    """Where a training runs and what it shows: no part of the recipe's hash, and free to change when a run goes on.

    `device`, `compile` and `channels_last` compute the same in another order, so they move the last bits (as the
    number of processes does); the others move none.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: a GPU where torch sees one."""
    compile: bool = False
    """torch.compile for the model's own methods; the first step takes minutes."""
    channels_last: bool = False
    """Images and kernels with channels innermost, which convolutions on GPUs prefer."""
    loader_workers: int = Field(default=0, ge=0)
    """Processes that make batches ahead; 0: none."""
    tensorboard: bool = False
    """Event files under RUN/tensorboard."""
    progress: bool | None = None
    """A line on standard error at every log interval; None: where it is a terminal."""
    timeout_minutes: float = Field(default=30.0, gt=0)
    """How long processes that train together wait for one of them before all give up."""
    restarts: int = Field(default=3, ge=0)
    """Under Ray: how often a group of processes of which one died is started again."""
