"""The one interface between models and samplers: a denoiser says of x_t, t and a condition what x_t is made of."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .gaussian import KINDS, Prediction
from .schedules import Schedule

NULL = -1  # in a tensor of labels: this row has no condition


class Denoiser(Protocol):
    """A function of x_t (N, ..), t (int or LongTensor (N,), 1 .. T) and cond (LongTensor (N,) of labels, NULL = -1 for none; None: all)."""

    schedule: Schedule

    def __call__(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Prediction: ...


class NetworkDenoiser:
    """A network net(x, t, cond) -> same shape as x, or twice the channels, as a denoiser.

    The second half of twice the channels, in -1 .. 1, is a learned variance in the encoding of guided-diffusion: -1 for the posterior's,
    1 for beta; `Prediction.fraction` holds it as 0 .. 1. The network is called with LongTensor t of shape (N,) counting from 0, as published networks do: t - 1 in this book's count.
    predicts is "eps", "x0" or "v"; clip limits x0 to [-clip, clip] (None: no limit). Raises ValueError for other values.
    """

    def __init__(self, net: Callable, schedule: Schedule, predicts: str = "v", clip: float | None = None) -> None:
        if predicts not in KINDS:
            raise ValueError(f"predicts must be one of {KINDS}, got {predicts!r}")
        self.net, self.schedule, self.predicts, self.clip = net, schedule, predicts, _check_bound(clip)

    def __call__(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Prediction:
        index = times(self.schedule, t, x_t)
        value = self.net(x_t, (index - 1).expand(len(x_t)).to(x_t.device), cond)
        fraction = None
        if value.dim() > 1 and value.shape[1] == 2 * x_t.shape[1]:
            value, variance = value.chunk(2, dim=1)
            fraction = (variance + 1) / 2
        prediction = Prediction(x_t, self.schedule.at(index), self.predicts, value, fraction)
        return prediction if self.clip is None else prediction.clamp(self.clip)


@dataclass(frozen=True)
class FunctionDenoiser:
    """A function (x_t, t, cond) -> Prediction together with the schedule it holds for."""

    schedule: Schedule
    function: Callable[[Tensor, int | Tensor, Tensor | None], Prediction]

    def __call__(self, x_t: Tensor, t: int | Tensor, cond: Tensor | None = None) -> Prediction:
        return self.function(x_t, t, cond)


def clipped(denoiser: Denoiser, bound: float = 1.0) -> Denoiser:
    """The denoiser with its x0 limited to [-bound, bound]; around a guided denoiser it limits what guidance has pushed outside."""
    _check_bound(bound)
    return FunctionDenoiser(denoiser.schedule, lambda x_t, t, cond: denoiser(x_t, t, cond).clamp(bound))


def _check_bound(bound: float | None) -> float | None:
    if bound is not None and not (math.isfinite(bound) and bound > 0):
        raise ValueError(f"clip must be a positive finite number or None, got {bound!r}")
    return bound


def rows(cond: Tensor | int | None, x: Tensor) -> Tensor:
    """cond as a LongTensor (N,) beside x (N, ..): one label for all rows, one a row, or NULL everywhere for None.

    Raises ValueError for another shape or dtype.
    """
    labels = torch.as_tensor(NULL if cond is None else cond, device=x.device)
    if labels.is_floating_point() or labels.dtype == torch.bool or labels.shape not in ((), (x.shape[0],)):
        raise ValueError(f"cond must be an int or a LongTensor ({x.shape[0]},), got {labels.dtype} of shape {tuple(labels.shape)}")
    return labels.long().expand(x.shape[0])


def times(schedule: Schedule, t: int | Tensor, x: Tensor) -> Tensor:
    """t as a LongTensor on the CPU, shape () or (N,) beside x (N, ..); raises ValueError for another length or a t outside 1 .. T."""
    index = schedule.check(t)
    if index.dim() and len(index) != len(x):
        raise ValueError(f"t has {len(index)} entries for a batch of {len(x)}")
    return index
