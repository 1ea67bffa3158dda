"""Guidance: take denoisers, give a denoiser that leans harder on the condition."""

import math

import torch
from torch import Tensor

from .denoisers import Denoiser, FunctionDenoiser, rows, times
from .gaussian import Prediction


def guided(denoiser: Denoiser, w: float, null: int | None = None) -> Denoiser:
    """Classifier-free guidance: eps_w = (1 + w) eps(x_t, cond) - w eps(x_t, null), in one batched call (Ho & Salimans 2022, equation 6).

    w = 0 is the conditional model itself, w = -1 the unconditional one; other texts write the scale s = 1 + w. null is the label used in
    place of the condition (None: no condition). The combination is taken in x0, which is the same line (both predictions share x_t) and
    avoids the factor 1/sqrt(alpha_bar) that magnifies float32 error in eps near t = T. Raises ValueError for a w that is not finite, and,
    when called, for a missing cond.
    """
    if not math.isfinite(w):
        raise ValueError(f"the guidance weight w must be a finite number, got {w!r}")

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        if cond is None:
            raise ValueError("guidance needs a condition: pass cond, an int or a LongTensor (N,)")
        if w == 0:
            return denoiser(x_t, t, rows(cond, x_t))
        index = times(denoiser.schedule, t, x_t)
        both = torch.cat([rows(cond, x_t), rows(null, x_t)])
        twice = index.repeat(2) if index.dim() else index
        x0_cond, x0_null = denoiser(torch.cat([x_t, x_t]), twice, both).x0.chunk(2)
        return Prediction(x_t, denoiser.schedule.at(index), "x0", (1 + w) * x0_cond - w * x0_null)

    return FunctionDenoiser(denoiser.schedule, predict)
