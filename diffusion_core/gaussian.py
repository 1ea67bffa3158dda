"""The Gaussian path from data to noise and what is known on it in closed form (Ho et al. 2020, sections 2 and 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .schedules import Schedule

KINDS = ("x0", "eps", "v")
Variance = str | Callable[[int | Tensor, int | Tensor], Tensor | float]


def like(coefficient: Tensor, x: Tensor) -> Tensor:
    """A float64 CPU coefficient, shape () or (N,), in the dtype and on the device of x and shaped to multiply it, (N, 1, ..)."""
    if coefficient.dim() == 1 and len(coefficient) != len(x):
        raise ValueError(f"t has {len(coefficient)} entries for a batch of {len(x)}")
    shape = (-1,) + (1,) * (x.dim() - 1) if coefficient.dim() else ()
    # The dtype is cast first, on the CPU: some devices (MPS) have no float64.
    return coefficient.to(x.dtype).to(x.device).reshape(shape)


def q_sample(schedule: Schedule, x0: Tensor, t: int | Tensor, eps: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x0 + sqrt(1 - alpha_bar_t) eps, shape of x0 (Ho et al. 2020, equation 4).

    x0 and eps have one shape (N, ..); t is an int or LongTensor (N,) in 0 .. T. Raises ValueError otherwise.
    """
    _same_shape("eps", eps, x0)
    a = schedule.at(t)
    return like(a.sqrt(), x0) * x0 + like((1 - a).sqrt(), x0) * eps


def q_posterior(schedule: Schedule, x0: Tensor, x_t: Tensor, t: int | Tensor, s: int | Tensor) -> tuple[Tensor, Tensor]:
    """Mean (shape of x_t) and variance (shape () or (N, 1, ..)) of q(x_s | x_t, x0), for any 0 <= s < t <= T.

    Ho et al. 2020, equations 6 and 7, with the step from t to s in place of the one from t to t - 1. Raises ValueError for other s, t.
    """
    _same_shape("x0", x0, x_t)
    a_t, a_s, a_ts = step_alphas(schedule, t, s)
    mean = like(a_s.sqrt() * (1 - a_ts) / (1 - a_t), x_t) * x0 + like(a_ts.sqrt() * (1 - a_s) / (1 - a_t), x_t) * x_t
    return mean, like(posterior_variance(schedule, t, s), x_t)


def posterior_variance(schedule: Schedule, t: int | Tensor, s: int | Tensor) -> Tensor:
    """beta-tilde = (1 - alpha_bar_s) / (1 - alpha_bar_t) (1 - alpha_bar_t / alpha_bar_s), float64, shape () or (N,)."""
    a_t, a_s, a_ts = step_alphas(schedule, t, s)
    return (1 - a_s) / (1 - a_t) * (1 - a_ts)


def step_alphas(schedule: Schedule, t: int | Tensor, s: int | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """alpha_bar_t, alpha_bar_s and their ratio (what one step from s to t keeps), float64; raises ValueError unless s < t."""
    if not bool((torch.as_tensor(s).cpu() < torch.as_tensor(t).cpu()).all()):
        raise ValueError(f"s must be earlier than t, got s = {s}, t = {t}")
    a_t, a_s = schedule.at(t, lowest=1), schedule.at(s)
    return a_t, a_s, a_t / a_s


@dataclass(frozen=True, eq=False)
class Prediction:
    """One statement about x_t, readable as x0, eps, v or score (all of the shape of x_t).

    With alpha = sqrt(alpha_bar) and sigma = sqrt(1 - alpha_bar): x_t = alpha x0 + sigma eps, v = alpha eps - sigma x0 (Salimans & Ho
    2022, section 4), score = -eps / sigma. `value` is what was predicted, `kind` is "x0", "eps" or "v"; the others are derived from it
    each time, so x0 clipped by `clamp` gives the eps that belongs to the clipped x0. alpha_bar is float64 on the CPU, shape () or
    (N,). `fraction`, of the shape of x_t, is what a network with learned variance says of it: 0 for the posterior's variance, 1 for
    beta (Nichol & Dhariwal 2021, equation 15); None where nothing is said. Raises ValueError for an unknown kind, another shape, or
    eps where alpha_bar = 0 (there x_t holds nothing of x0).
    """

    x_t: Tensor
    alpha_bar: Tensor
    kind: str
    value: Tensor
    fraction: Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a prediction must be one of {KINDS}, got {self.kind!r}")
        _same_shape(f"the predicted {self.kind}", self.value, self.x_t)
        if self.kind == "eps" and bool((self.alpha_bar == 0).any()):
            raise ValueError("eps leaves x0 undefined where alpha_bar = 0 (zero terminal SNR): predict v or x0")

    @property
    def _alpha_sigma(self) -> tuple[Tensor, Tensor]:
        return like(self.alpha_bar.sqrt(), self.x_t), like((1 - self.alpha_bar).sqrt(), self.x_t)

    @property
    def x0(self) -> Tensor:
        alpha, sigma = self._alpha_sigma
        if self.kind == "eps":
            return (self.x_t - sigma * self.value) / alpha
        return alpha * self.x_t - sigma * self.value if self.kind == "v" else self.value

    @property
    def eps(self) -> Tensor:
        alpha, sigma = self._alpha_sigma
        if self.kind == "x0":
            return (self.x_t - alpha * self.value) / sigma
        return sigma * self.x_t + alpha * self.value if self.kind == "v" else self.value

    @property
    def v(self) -> Tensor:
        alpha, sigma = self._alpha_sigma
        if self.kind == "x0":
            return (alpha * self.x_t - self.value) / sigma
        return (self.value - sigma * self.x_t) / alpha if self.kind == "eps" else self.value

    @property
    def score(self) -> Tensor:
        return -self.eps / self._alpha_sigma[1]

    def clamp(self, bound: float) -> "Prediction":
        """The prediction whose x0 is limited to [-bound, bound]."""
        return self.with_x0(self.x0.clamp(-bound, bound))

    def with_x0(self, x0: Tensor) -> "Prediction":
        """The prediction of another x0 for the same x_t; what it says of the variance stays."""
        return Prediction(self.x_t, self.alpha_bar, "x0", x0, self.fraction)


def reverse_step(prediction: Prediction, schedule: Schedule, t: int | Tensor, s: int | Tensor,
                 variance: Variance = "small") -> tuple[Tensor, Tensor]:
    """Mean (shape of x_t) and log-variance of p(x_s | x_t), a Gaussian around `q_posterior`'s mean at the predicted x0, 0 <= s < t <= T.

    variance, always of the step taken from t to s (its logarithm has shape () or (N, 1, ..), for "learned" that of x_t):
      "small"    beta-tilde, the posterior's; at s = 0, where that is 0, that of the step from 2t (at most T) to t: beta-tilde_2 at t = 1,
                 as in published code;
      "large"    beta = 1 - alpha_bar_t / alpha_bar_s, at t = 1 too, where published code takes beta-tilde_2 again (on N(0, .25), linear
                 T = 1000, the bound then misses the entropy by .115 nats, with beta_1 by .0011);
      "learned"  f log beta + (1 - f) log beta-tilde with f = prediction.fraction (Nichol & Dhariwal 2021, equation 15);
      a function (t, s) -> positive float, or float64 Tensor of shape () or (N,).
    "small" and "large" are those of Ho et al. 2020, section 3.2. Raises ValueError for another variance, for "learned" where the prediction
    has no fraction, and for other s, t.
    """
    mean, _ = q_posterior(schedule, prediction.x0, prediction.x_t, t, s)
    if callable(variance):
        value = torch.as_tensor(variance(t, s), dtype=torch.float64).cpu()
        if not bool((value > 0).all()):
            raise ValueError(f"a variance must be positive, got {value.tolist()} for the step from t = {t} to s = {s}")
        return mean, like(value.log(), mean)
    small, large = posterior_variance(schedule, *_noisy_step(schedule, t, s)).log(), (1 - step_alphas(schedule, t, s)[2]).log()
    if variance == "small":
        return mean, like(small, mean)
    if variance == "large":
        return mean, like(large, mean)
    if variance != "learned" or prediction.fraction is None:
        known = "'small' or 'large'" + ("" if prediction.fraction is None else " or 'learned'")
        why = ", of which this denoiser says nothing" if variance == "learned" else ""
        raise ValueError(f"variance must be {known}, got {variance!r}{why}")
    return mean, prediction.fraction * like(large, mean) + (1 - prediction.fraction) * like(small, mean)


def _noisy_step(schedule: Schedule, t: int | Tensor, s: int | Tensor) -> tuple[Tensor, Tensor]:
    """(t, s) itself, or where s = 0 the step before it on a grid of that width: from 2t to t, at most T."""
    t, s, T = schedule.check(t), schedule.check(s, lowest=0), len(schedule)
    return torch.where(s > 0, t, (2 * t).clamp(max=T)), torch.where(s > 0, s, t.clamp(max=T - 1))


def gaussian_kl(mean_a: Tensor, var_a: Tensor, mean_b: Tensor, var_b: Tensor) -> Tensor:
    """KL(N(mean_a, var_a) || N(mean_b, var_b)) in nats, element by element."""
    # Not (var_a + (mean_a - mean_b)^2) / var_b - 1: in float32 the 1 swallows means that differ little, as they do at late t.
    return 0.5 * (torch.log(var_b / var_a) + (var_a - var_b) / var_b + (mean_a - mean_b) ** 2 / var_b)


def _same_shape(name: str, value: Tensor, x: Tensor) -> None:
    if value.shape != x.shape:
        raise ValueError(f"{name} must have the shape of x, {tuple(x.shape)}, got {tuple(value.shape)}")
