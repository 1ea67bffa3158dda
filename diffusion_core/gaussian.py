"""The Gaussian path from data to noise and what is known on it in closed form (Ho et al. 2020, sections 2 and 3)."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .schedules import Schedule

KINDS = ("x0", "eps", "v")


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
    (N,). Raises ValueError for an unknown kind, another shape, or eps where alpha_bar = 0 (there x_t holds nothing of x0).
    """

    x_t: Tensor
    alpha_bar: Tensor
    kind: str
    value: Tensor

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
        return Prediction(self.x_t, self.alpha_bar, "x0", self.x0.clamp(-bound, bound))


def gaussian_kl(mean_a: Tensor, var_a: Tensor, mean_b: Tensor, var_b: Tensor) -> Tensor:
    """KL(N(mean_a, var_a) || N(mean_b, var_b)) in nats, element by element."""
    return 0.5 * (torch.log(var_b / var_a) + (var_a + (mean_a - mean_b) ** 2) / var_b - 1)


def vlb_terms(denoiser: Callable, schedule: Schedule, x0: Tensor, *, variance: str = "small", bins: int | None = 256,
              cond: Tensor | None = None, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of -log p(x0) <= L_T + sum_t L_{t-1} + L_0 (Ho et al. 2020, equation 5), in nats an image, for x0 (N, ..).

    Returns prior (N,), KL (N, T - 1) for t = 2 .. T, decoder (N,). Each term is one draw of x_t, so KL and decoder are unbiased estimates.
    variance of p is "small" (beta-tilde; at t = 1, where that is 0, beta-tilde_2, as published code does) or "large" (beta). bins: the decoder is the probability of one of that many grey levels on [-1, 1] (equation 13); None: a Gaussian density.
    Raises ValueError for another variance or a schedule of fewer than 2 steps.
    """
    if variance not in ("small", "large") or len(schedule) < 2:
        raise ValueError(f"variance must be 'small' or 'large' and T at least 2, got {variance!r} and T = {len(schedule)}")

    def reverse(t: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        eps = torch.randn(x0.shape, dtype=x0.dtype, generator=generator).to(x0.device)
        x_t = q_sample(schedule, x0, t, eps)
        true_mean, true_var = q_posterior(schedule, x0, x_t, t, t - 1)
        mean, _ = q_posterior(schedule, denoiser(x_t, t, cond).x0, x_t, t, t - 1)
        if variance == "large":
            return true_mean, true_var, mean, like(schedule.betas[t], x0)
        return true_mean, true_var, mean, true_var if t > 1 else like(posterior_variance(schedule, 2, 1), x0)

    def image(terms: Tensor) -> Tensor:
        return terms.flatten(1).sum(1)

    a = schedule.at(len(schedule))
    one = torch.ones((), dtype=x0.dtype, device=x0.device)
    prior = image(gaussian_kl(like(a.sqrt(), x0) * x0, like(1 - a, x0), 0 * x0, one))
    kl = torch.stack([image(gaussian_kl(*reverse(t))) for t in range(2, len(schedule) + 1)], 1)
    _, _, mean, var = reverse(1)
    return prior, kl, image(-_log_likelihood(x0, mean, var.sqrt(), bins))


def _log_likelihood(x0: Tensor, mean: Tensor, std: Tensor, bins: int | None) -> Tensor:
    """log N(x0; mean, std^2), or of the bin around x0 when [-1, 1] has `bins` of them, the outermost reaching to infinity."""
    normal = torch.distributions.Normal(mean, std)
    if bins is None:
        return normal.log_prob(x0)
    half = 1 / (bins - 1)
    upper = torch.where(x0 > 1 - half, 1.0, normal.cdf(x0 + half))
    lower = torch.where(x0 < -1 + half, 0.0, normal.cdf(x0 - half))
    return (upper - lower).clamp(min=1e-12).log()


def _same_shape(name: str, value: Tensor, x: Tensor) -> None:
    if value.shape != x.shape:
        raise ValueError(f"{name} must have the shape of x, {tuple(x.shape)}, got {tuple(value.shape)}")
