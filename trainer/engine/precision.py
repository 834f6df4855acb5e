"""A model as an objective meets it: compiled and under autocast where the recipe says so, its answers in float32.

Autocast covers the model's own methods (forward, encode, decode and what else it offers) and ends there: losses are
sums of many small terms, and in bfloat16, with 8 bits of fraction, sums over a mask stop growing. bfloat16 has the
range of float32, so no loss scaling is needed. Only the model is compiled: an objective is a few elementwise
operations, and the names of samples and the progress of training, which it is given, are new at every step and would
compile it anew.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn


class Lowered:
    """Stands for `model`: attributes are the model's, its own methods run compiled or under autocast.

    Args:
        model: what computes.
        device_type: of its parameters, "cpu" or "cuda".
        precision: "float32" or "bfloat16".
        compiled: whether torch.compile is used.
    """

    def __init__(
        self, model: nn.Module, *, device_type: str, precision: str, compiled: bool
    ) -> None:
        self._model = model
        self._device_type = device_type
        self._lower = precision == "bfloat16"
        self._compiled = compiled
        self._methods: dict[str, Callable[..., Any]] = {}

    def __call__(self, *args: Any, **options: Any) -> Any:
        """The model's forward."""
        return self._method("forward")(*args, **options)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        own = isinstance(value, MethodType) and (name == "forward" or not hasattr(nn.Module, name))
        return self._method(name) if own else value

    def _method(self, name: str) -> Callable[..., Any]:
        if name not in self._methods:
            self._methods[name] = self._wrapped(name)
        return self._methods[name]

    def _wrapped(self, name: str) -> Callable[..., Any]:
        # hooks of the module run where it is called as such
        inner = self._model if name == "forward" else getattr(self._model, name)
        if self._compiled:
            inner = torch.compile(inner)

        def run(*args: Any, **options: Any) -> Any:
            with torch.autocast(self._device_type, torch.bfloat16, enabled=self._lower):
                answer = inner(*args, **options)
            return _in_float32(answer) if self._lower else answer

        return run


def seen_by_objectives(
    model: nn.Module, *, device_type: str, precision: str, compiled: bool
) -> Any:
    """`model` itself where nothing is to be done to it, or a `Lowered` one."""
    if precision == "float32" and not compiled:
        return model
    return Lowered(model, device_type=device_type, precision=precision, compiled=compiled)


def _in_float32(answer: Any) -> Any:
    """Tensors of half precision in an answer (a tensor, or tuples and dataclasses of them) as float32."""
    if isinstance(answer, Tensor):
        return answer.float() if answer.dtype in (torch.bfloat16, torch.float16) else answer
    if isinstance(answer, tuple | list):
        return type(answer)(_in_float32(part) for part in answer)
    if is_dataclass(answer) and not isinstance(answer, type):
        return replace(
            answer, **{f.name: _in_float32(getattr(answer, f.name)) for f in fields(answer)}
        )
    return answer
