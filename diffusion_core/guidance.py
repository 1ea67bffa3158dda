"""Guidance: take denoisers, give a denoiser that leans harder on the condition.

Every variant combines predictions in x0. For predictions of one x_t that is the same line as in eps, and it avoids the factor
1 / sqrt(alpha_bar) that magnifies float32 error in eps near t = T.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from .denoisers import Denoiser, FunctionDenoiser, NetworkDenoiser, rows, times
from .gaussian import Prediction, like


def guided(denoiser: Denoiser, w: float | Tensor, null: int | Tensor | None = None) -> Denoiser:
    """Classifier-free guidance: eps_w = (1 + w) eps(x_t, cond) - w eps(x_t, null), in one batched call (Ho & Salimans 2022, equation 6).

    w = 0 is the conditional model itself, w = -1 the unconditional one; other texts write the scale s = 1 + w. w is a number, or a
    Tensor (N,) with one a row. null is what stands in the condition's place: None for no condition, or a label (int or LongTensor (N,))
    to move away from, the negative condition. A learned variance is the conditional one. Raises ValueError for a w that is not finite,
    and, when called, for a missing cond.
    """
    _check_weight(w)

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        if isinstance(w, int | float) and w == 0:
            return denoiser(x_t, t, _needed(cond, x_t))
        conditional, x0_null = _both(denoiser, x_t, t, cond, null)
        weight = like(torch.as_tensor(w, dtype=torch.float64, device="cpu"), x_t)  # as other coefficients, cast last
        return conditional.with_x0((1 + weight) * conditional.x0 - weight * x0_null)

    return FunctionDenoiser(denoiser.schedule, predict)


def interval_guided(denoiser: Denoiser, w: float, low: int, high: int, null: int | Tensor | None = None) -> Denoiser:
    """Guidance for low <= t <= high only; at other times the conditional model, one evaluation (Kynkaanniemi et al. 2024).

    The whole range 1 .. T is `guided`; an empty one (low > high) the conditional model. Raises ValueError for a w that is not finite.
    """
    leaning = guided(denoiser, w, null)

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        index = times(denoiser.schedule, t, x_t)
        inside = (index >= low) & (index <= high)
        if not bool(inside.any()):
            return denoiser(x_t, t, _needed(cond, x_t))
        prediction = leaning(x_t, t, cond)
        if bool(inside.all()):
            return prediction
        conditional = denoiser(x_t, t, cond)
        return conditional.with_x0(torch.where(like(inside, x_t) > 0, prediction.x0, conditional.x0))

    return FunctionDenoiser(denoiser.schedule, predict)


def rescaled(denoiser: Denoiser, w: float, phi: float = 0.7, null: int | Tensor | None = None) -> Denoiser:
    """Guidance whose x0 has each picture's spread drawn back to that of the conditional x0 (Lin et al. 2024, section 3.4).

    x0 = phi x0_w std(x0_cond) / std(x0_w) + (1 - phi) x0_w, the standard deviation taken over a picture's channels and pixels; phi = 0
    is `guided`. The paper rescales what its network predicts; here it is x0 for every network. Raises ValueError for phi outside [0, 1].
    """
    _check_weight(w)
    if not 0 <= phi <= 1:
        raise ValueError(f"phi must lie in [0, 1], got {phi!r}")

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        conditional, x0_null = _both(denoiser, x_t, t, cond, null)
        x0 = (1 + w) * conditional.x0 - w * x0_null
        over = tuple(range(1, x0.dim()))
        ratio = conditional.x0.std(over, keepdim=True) / x0.std(over, keepdim=True)
        return conditional.with_x0((phi * ratio + 1 - phi) * x0)

    return FunctionDenoiser(denoiser.schedule, predict)


def autoguided(denoiser: Denoiser, weaker: Denoiser, w: float) -> Denoiser:
    """Guidance away from a smaller or less trained network: (1 + w) x0(x_t, cond) - w x0_weaker(x_t, cond) (Karras et al. 2024).

    Both are asked with the same condition, so what is magnified is the difference in quality, not in class. Two evaluations, of
    networks of different cost. Raises ValueError for a w that is not finite or schedules that differ.
    """
    _check_weight(w)
    if not torch.equal(denoiser.schedule.alpha_bar, weaker.schedule.alpha_bar):
        raise ValueError("both denoisers must have the same schedule: they are asked about the same x_t at the same t")

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        better = denoiser(x_t, t, cond)
        return better.with_x0((1 + w) * better.x0 - w * weaker(x_t, t, cond).x0)

    return FunctionDenoiser(denoiser.schedule, predict)


def classifier_guided(denoiser: Denoiser, classifier: Callable[[Tensor, Tensor], Tensor], w: float) -> Denoiser:
    """score_w = score(x_t) + w grad_x log p(cond | x_t), with a classifier of noised pictures (Dhariwal & Nichol 2021, section 4).

    classifier(x_t, t) gives logits (N, K) at t, LongTensor (N,) in 1 .. T; the denoiser is asked without a condition, so that w = 1 is
    Bayes' rule and exact where both are. In x0 the step is w (1 - alpha_bar) / sqrt(alpha_bar) times the gradient. Raises ValueError
    for a w that is not finite, and, when called, for a missing cond.
    """
    _check_weight(w)

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        labels, index = _needed(cond, x_t), times(denoiser.schedule, t, x_t)
        with torch.inference_mode(False), torch.enable_grad():
            x = x_t.detach().clone().requires_grad_()
            log_p = classifier(x, index.expand(len(x)).to(x.device)).log_softmax(1)
            (gradient,) = torch.autograd.grad(log_p.gather(1, labels.clone()[:, None]).sum(), x)
        a, free = denoiser.schedule.at(index), denoiser(x_t, t, None)
        return free.with_x0(free.x0 + w * like((1 - a) / a.sqrt(), x_t) * gradient)

    return FunctionDenoiser(denoiser.schedule, predict)


def thresholded(denoiser: Denoiser, percentile: float = 0.995) -> Denoiser:
    """Dynamic thresholding: x0 limited to [-b, b] and divided by b, b = max(1, that quantile of |x0| in the picture).

    Source: Saharia et al. 2022, section 2.3. It goes around a guided denoiser. Raises ValueError for a percentile outside (0, 1].
    """
    if not 0 < percentile <= 1:
        raise ValueError(f"percentile must lie in (0, 1], got {percentile!r}")

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        prediction = denoiser(x_t, t, cond)
        x0 = prediction.x0
        bound = x0.flatten(1).abs().quantile(percentile, dim=1).clamp(min=1).reshape(-1, *[1] * (x0.dim() - 1))
        return prediction.with_x0(x0.clamp(-bound, bound) / bound)

    return FunctionDenoiser(denoiser.schedule, predict)


def distilled(denoiser: NetworkDenoiser, w: float | Tensor) -> NetworkDenoiser:
    """Guidance in one evaluation: the denoiser of a network that was trained to take w as an input (Meng et al. 2023, stage one).

    w is a number, or a Tensor (N,) with one a row. Raises ValueError for a w that is not finite; the network itself refuses w if it has no such input.
    """
    _check_weight(w)

    def net(x: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        return denoiser.net(x, t, cond, torch.as_tensor(w, dtype=x.dtype, device=x.device).expand(len(x)))

    return NetworkDenoiser(net, denoiser.schedule, denoiser.predicts, denoiser.clip)


def _both(denoiser: Denoiser, x_t: Tensor, t: int | Tensor, cond: Tensor | None, null: int | Tensor | None) -> tuple[Prediction, Tensor]:
    """The conditional prediction and the x0 of the null condition, from one call with twice the rows."""
    index = times(denoiser.schedule, t, x_t)
    labels = torch.cat([_needed(cond, x_t), rows(null, x_t)])
    twice = index.repeat(2) if index.dim() else index
    prediction = denoiser(torch.cat([x_t, x_t]), twice, labels)
    x0_cond, x0_null = prediction.x0.chunk(2)
    fraction = None if prediction.fraction is None else prediction.fraction[: len(x_t)]
    return Prediction(x_t, denoiser.schedule.at(index), "x0", x0_cond, fraction), x0_null


def _needed(cond: Tensor | None, x_t: Tensor) -> Tensor:
    if cond is None:
        raise ValueError("guidance needs a condition: pass cond, an int or a LongTensor (N,)")
    return rows(cond, x_t)


def _check_weight(w: float | Tensor) -> None:
    if not bool(torch.as_tensor(w).isfinite().all()):
        raise ValueError(f"the guidance weight w must be a finite number, got {w!r}")
