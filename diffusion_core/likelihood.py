"""How likely a model finds data: the variational bound of its chain of steps, and the density of its probability flow.

Log-likelihoods are in nats an image; `bits_per_dim` gives bits a dimension. Both need a denoiser and its schedule, and integer times only.
"""

import math

import torch
from torch import Tensor

from .denoisers import Denoiser
from .gaussian import Prediction, Variance, gaussian_kl, like, q_sample, reverse_step
from .samplers import noise_like
from .schedules import Schedule

SMALLEST = 1e-12  # the least probability the decoder gives a grey level, as in published code; it costs 27.6 nats


def bits_per_dim(nats: Tensor, x0: Tensor) -> Tensor:
    """Nats an image, shape (N, ..), as bits per dimension of the images x0 (N, ..), D values each: nats / (D log 2).

    Raises ValueError for another number of images or images without values.
    """
    if nats.dim() == 0 or len(nats) != len(x0) or x0.numel() == 0:
        raise ValueError(f"expected nats (N, ..) for N images that are not empty, got {tuple(nats.shape)} for {tuple(x0.shape)}")
    return nats / (x0[0].numel() * math.log(2))


def vlb_terms(denoiser: Denoiser, schedule: Schedule, x0: Tensor, *, variance: Variance = "small", bins: int | None = 256,
              cond: Tensor | None = None, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """The three terms of -log p(x0) <= L_T + sum_t L_{t-1} + L_0 (Ho et al. 2020, equation 5), in nats an image, for x0 (N, ..).

    Returns prior (N,), KL (N, T - 1) for t = 2 .. T, decoder (N,). Each term is one draw of x_t, so KL and decoder are unbiased estimates.
    variance is that of `reverse_step`, bins that of `vlb_term`. Published code limits x0-hat to [-1, 1] here: pass clipped(denoiser) for
    its figures. Raises ValueError for other values or a schedule of fewer than 2 steps.
    """
    if len(schedule) < 2:
        raise ValueError(f"the bound needs T of at least 2, got T = {len(schedule)}")

    def term(t: int) -> Tensor:
        x_t = q_sample(schedule, x0, t, noise_like(x0, generator))
        return vlb_term(denoiser(x_t, t, cond), schedule, x0, t, variance=variance, bins=bins)

    decoder, *kl = (term(t) for t in range(1, len(schedule) + 1))
    return vlb_prior(schedule, x0), torch.stack(kl, 1), decoder


def vlb_prior(schedule: Schedule, x0: Tensor) -> Tensor:
    """L_T = KL(q(x_T | x0) || N(0, I)) for x0 (N, ..), in nats an image (N,)."""
    a, one = schedule.at(len(schedule)), torch.ones((), dtype=x0.dtype, device=x0.device)
    return _image(gaussian_kl(like(a.sqrt(), x0) * x0, like(1 - a, x0), 0 * x0, one))


def vlb_term(prediction: Prediction, schedule: Schedule, x0: Tensor, t: int | Tensor, *, variance: Variance = "small",
             bins: int | None = 256) -> Tensor:
    """L_{t-1} for a prediction from x_t, in nats an image (N,), t an int or LongTensor (N,): one prediction serves several variances.

    KL(q(x_{t-1} | x_t, x0) || p(x_{t-1} | x_t)) where t > 1, the decoder's -log p(x0 | x_1) where t = 1. bins: the decoder is the
    probability of one of that many grey levels on [-1, 1], the outermost reaching to infinity, at least 1e-12 (Ho et al. 2020, equation
    13); None: a Gaussian density. Differentiable in the prediction. Raises ValueError for bins below 2 and as `reverse_step` does.
    """
    if bins is not None and bins < 2:
        raise ValueError(f"bins must be None or at least 2, got {bins}")
    first = schedule.check(t) == 1
    mean, logvar = reverse_step(prediction, schedule, t, t - 1, variance)
    true_mean, true_logvar = reverse_step(prediction.with_x0(x0), schedule, t, t - 1, "small")  # q is the step of one who knows x0
    kl = _image(gaussian_kl(true_mean, true_logvar.exp(), mean, logvar.exp()))
    if not bool(first.any()):
        return kl
    return torch.where(first.to(x0.device), _image(-_log_likelihood(x0, mean, logvar, bins)), kl)


def _log_likelihood(x0: Tensor, mean: Tensor, logvar: Tensor, bins: int | None) -> Tensor:
    """log N(x0; mean, exp(logvar)), or of the bin around x0 when [-1, 1] has `bins` of them."""
    std = (logvar / 2).exp()
    if bins is None:
        return -0.5 * (((x0 - mean) / std) ** 2 + logvar + math.log(2 * math.pi))
    half = 1 / (bins - 1)
    upper = torch.where(x0 > 1 - half, math.inf, (x0 + half - mean) / std)
    lower = torch.where(x0 < -1 + half, -math.inf, (x0 - half - mean) / std)
    # Mirrored into the lower tail, where both values of the cdf are small: of two numbers near 1 float32 loses the difference.
    flip = upper + lower > 0
    upper, lower = torch.where(flip, -lower, upper), torch.where(flip, -upper, lower)
    return ((torch.erfc(-upper / math.sqrt(2)) - torch.erfc(-lower / math.sqrt(2))) / 2).clamp(min=SMALLEST).log()


def _image(terms: Tensor) -> Tensor:
    return terms.flatten(1).sum(1)


@torch.no_grad()
def flow_log_prob(denoiser: Denoiser, schedule: Schedule, x: Tensor, *, t: int = 0, steps: int | None = None, probes: int | None = None,
                  cond: Tensor | None = None, generator: torch.Generator | None = None) -> Tensor:
    """log p_t(x) in nats, shape (N,), for x (N, ..): of the density that the probability flow makes of N(0, I) at T.

    With alpha = cos(phi) and sigma = sin(phi) the flow is dx/dphi = v (Salimans & Ho 2022, appendix D), in which nothing grows without
    bound, and log p_t(x) = log N(x_T; 0, I) + the integral of div v from phi_t to phi_T (Song et al. 2021, "Score-based", equation 39).
    steps of the classical Runge-Kutta method, four evaluations each, follow it over integer times, at most (T - t) // 2, the default.

    probes: None takes the divergence exactly, D backward passes for D values in x; a number of random vectors of +-1 estimates it
    without bias (Hutchinson's), the same vectors at every step. t = 0 is the density of the data: there v is taken as 0, its limit for a
    density that is smooth on the scale of sigma_1. Pictures of 256 levels have no such density: for them t = 1 gives that of x_1. What
    N(0, I) differs from the law of x_T by is part of the result (.004 nats on a mixture for linear T = 1000, 3e-5 for cosine, 0 with zero
    terminal SNR). The denoiser must be differentiable in x_t. Raises ValueError for t, steps or probes that do not fit, and for t = 0
    where alpha_bar[0] is not 1.
    """
    T = len(schedule)
    if not isinstance(t, int) or not 0 <= t <= T - 2 or (t == 0 and schedule.alpha_bar[0] != 1):
        raise ValueError(f"t must be an int in 0 .. {T - 2}, above 0 unless alpha_bar[0] = 1, got {t!r}")
    steps = (T - t) // 2 if steps is None else steps
    if not isinstance(steps, int) or not 1 <= steps <= (T - t) // 2:
        raise ValueError(f"steps must be an int in 1 .. {(T - t) // 2}, since each takes two intervals of time, got {steps!r}")
    if probes is not None and (not isinstance(probes, int) or probes < 1):
        raise ValueError(f"probes must be None or an int of at least 1, got {probes!r}")
    directions = _unit_vectors(x) if probes is None else [_signs(x, generator) for _ in range(probes)]
    scale = 1 if probes is None else 1 / probes

    def slope(x: Tensor, t: int, rate: float) -> tuple[Tensor, Tensor]:
        if t == 0:
            return torch.zeros_like(x), x.new_zeros(len(x))
        v, divergence = _divergence(denoiser, x, t, cond, directions)
        return rate * v, rate * scale * divergence

    phi = torch.atan2((1 - schedule.alpha_bar).sqrt(), schedule.alpha_bar.sqrt()).tolist()
    ends = [t + 2 * (k * ((T - t) // 2) // steps) for k in range(steps)] + [T]  # an even way apart, if T - t is even
    log_p = x.new_zeros(len(x))
    for start, end in zip(ends, ends[1:], strict=False):
        middle = (start + end) // 2
        a, b, c = phi[start], phi[middle], phi[end]
        # A step runs over r = 0 .. 1 with phi the parabola in r that is at the middle time at r = 1/2. Its d phi / d r at 0, 1/2, 1:
        first, half, last = -3 * a + 4 * b - c, c - a, a - 4 * b + 3 * c
        k1 = slope(x, start, first)
        k2 = slope(x + k1[0] / 2, middle, half)
        k3 = slope(x + k2[0] / 2, middle, half)
        k4 = slope(x + k3[0], end, last)
        x, log_p = (y + (p + 2 * q + 2 * r + s) / 6 for y, p, q, r, s in zip((x, log_p), k1, k2, k3, k4, strict=True))
    return log_p + _image(-0.5 * (x**2 + math.log(2 * math.pi)))


def _divergence(denoiser: Denoiser, x: Tensor, t: int, cond: Tensor | None, directions: list[Tensor]) -> tuple[Tensor, Tensor]:
    """v and the sum over directions e of e^T (dv/dx) e, shape (N,)."""
    with torch.inference_mode(False), torch.enable_grad():
        x = x.detach().clone().requires_grad_()
        v = denoiser(x, t, cond).v
        products = (torch.autograd.grad(v, x, e, retain_graph=True)[0] * e for e in directions)
        return v.detach(), sum(_image(product) for product in products)


def _unit_vectors(x: Tensor) -> list[Tensor]:
    D = x[0].numel()
    return [e.reshape(x[0].shape).expand(x.shape) for e in torch.eye(D, dtype=x.dtype, device=x.device)]


def _signs(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return 2 * (noise_like(x, generator) > 0).to(x.dtype) - 1
