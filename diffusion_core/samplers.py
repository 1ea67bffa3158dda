"""Samplers: short generator functions, one `Step` for every pair (t, s) of times; iterate to watch or stop, `final` to get the end."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .denoisers import Denoiser
from .gaussian import Variance, like, posterior_variance, q_sample, reverse_step
from .schedules import Schedule, timesteps

Pairs = Sequence[tuple[int, int]]


class Step(NamedTuple):
    """What one step did: from time t to s < t it reached x = x_s, having taken x0 for the clean picture (both of shape (N, ..))."""

    t: int
    s: int
    x: Tensor
    x0: Tensor


@torch.no_grad()
def ddpm(denoiser: Denoiser, x: Tensor, schedule: Schedule, *, steps: int | Pairs | None = None, variance: Variance = "small",
         cond: Tensor | None = None, generator: torch.Generator | None = None) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2): x_s ~ N(posterior mean at x0-hat, variance), without noise at the last step.

    x is x_T, shape (N, ..). steps: None for all T, a number, or explicit pairs of `timesteps`. variance: "small" for the posterior's
    beta-tilde, "large" for beta, "learned" for the network's own, or a function (`reverse_step`), all of the step actually taken. Raises
    ValueError for other arguments.
    """
    for t, s in pairs(schedule, len(schedule) if steps is None else steps):
        prediction = denoiser(x, t, cond)
        x, logvar = reverse_step(prediction, schedule, t, s, variance)
        if s > 0:
            x = x + (logvar / 2).exp() * noise_like(x, generator)
        yield Step(t, s, x, prediction.x0)


@torch.no_grad()
def ddim(denoiser: Denoiser, x: Tensor, schedule: Schedule, *, steps: int | Pairs, eta: float = 0.0, spacing: str = "trailing",
         cond: Tensor | None = None, generator: torch.Generator | None = None) -> Iterator[Step]:
    """x_s = sqrt(alpha_bar_s) x0-hat + sqrt(1 - alpha_bar_s - sigma^2) eps-hat + sigma z (Song et al. 2021, equations 12 and 16).

    sigma is eta times the posterior's standard deviation: eta = 0 is deterministic, eta = 1 is ancestral sampling. x is x_T, shape
    (N, ..); steps is a number (with spacing) or explicit pairs of `timesteps`. Raises ValueError for eta outside [0, 1] or other arguments.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta!r}")
    for t, s in pairs(schedule, steps, spacing):
        prediction = denoiser(x, t, cond)
        a_s, variance = schedule.at(s), eta**2 * posterior_variance(schedule, t, s)
        x0 = prediction.x0
        x = like(a_s.sqrt(), x) * x0 + like((1 - a_s - variance).clamp(min=0).sqrt(), x) * prediction.eps
        if eta > 0 and s > 0:
            x = x + like(variance.sqrt(), x) * noise_like(x, generator)
        yield Step(t, s, x, x0)


@torch.no_grad()
def heun(denoiser: Denoiser, x: Tensor, schedule: Schedule, *, steps: int | Pairs, spacing: str = "trailing",
         cond: Tensor | None = None) -> Iterator[Step]:
    """Heun's second-order method for the probability flow (Karras et al. 2022, algorithm 1): two evaluations a step, one in the last.

    In x / alpha as a function of sigma / alpha the slope is eps; each step goes to s by DDIM, looks there, and is made again with the
    mean of both slopes. The paper's grid is `schedules.noise_steps`, with x drawn at its first time. x is (N, ..) at the first time;
    steps is a number (with spacing) or explicit pairs. Raises ValueError for other arguments.
    """
    for t, s in pairs(schedule, steps, spacing):
        here = denoiser(x, t, cond)
        x_s = q_sample(schedule, here.x0, s, here.eps)
        if s > 0:
            alpha_t, alpha_s = schedule.at(t).sqrt(), schedule.at(s).sqrt()
            change = (1 - schedule.at(s)).sqrt() - alpha_s / alpha_t * (1 - schedule.at(t)).sqrt()
            x_s = x_s + like(change / 2, x) * (denoiser(x_s, s, cond).eps - here.eps)
        x = x_s
        yield Step(t, s, x, here.x0)


@torch.no_grad()
def dpmpp_2m(denoiser: Denoiser, x: Tensor, schedule: Schedule, *, steps: int | Pairs, spacing: str = "trailing",
             cond: Tensor | None = None) -> Iterator[Step]:
    """DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): x0 is carried on in a straight line from the last two evaluations.

    In lambda = log(alpha / sigma) the flow is linear but for x0. The first step, which has no line to follow, and the one to clean data,
    where lambda is infinite, take x0 as it is, which is DDIM. x is (N, ..) at the first time; steps is a number (with spacing) or
    explicit pairs. Raises ValueError for other arguments.
    """
    earlier = None
    for t, s in pairs(schedule, steps, spacing):
        x0 = ahead = denoiser(x, t, cond).x0
        if earlier is not None and schedule.at(s) < 1:
            before, x0_before = earlier
            r = (half_log_snr(schedule, t) - half_log_snr(schedule, before)) / (half_log_snr(schedule, s) - half_log_snr(schedule, t))
            ahead = x0 + like(1 / (2 * r), x) * (x0 - x0_before)
        earlier, x = (t, x0), exponential_step(schedule, x, t, s, [(t, ahead)])
        yield Step(t, s, x, x0)


@torch.no_grad()
def adams(denoiser: Denoiser, x: Tensor, schedule: Schedule, *, steps: int | Pairs, spacing: str = "trailing",
          cond: Tensor | None = None) -> Iterator[Step]:
    """Predictor and corrector, one evaluation a step: UniPC (Zhao et al. 2023) with exact weights, or SA-Solver (Xue et al. 2023) without noise.

    The x0 evaluated at t first corrects the step that led there, made again with what is now known at its end, then predicts the next.
    Both are exact for an x0 that is a polynomial in lambda: of degree 1 in the predictor, 2 in the corrector. x is (N, ..) at the first
    time; steps is a number (with spacing) or explicit pairs. Raises ValueError for other arguments.
    """
    known, x_before = [], x
    for t, s in pairs(schedule, steps, spacing):
        x0 = denoiser(x, t, cond).x0
        if known:
            x = exponential_step(schedule, x_before, known[0][0], t, [(t, x0), *known])
        known, x_before = [(t, x0), *known[:1]], x
        x = exponential_step(schedule, x, t, s, known)
        yield Step(t, s, x, x0)


def half_log_snr(schedule: Schedule, t: int) -> Tensor:
    """lambda_t = log(alpha_t / sigma_t), float64: the time in which these solvers are made."""
    return schedule.snr(t).log() / 2


def exponential_step(schedule: Schedule, x: Tensor, t: int, s: int, known: Sequence[tuple[int, Tensor]]) -> Tensor:
    """x_s from x_t by the flow whose x0 is, in lambda, the polynomial through the known pairs (time, x0).

    x_s = (sigma_s / sigma_t) x_t + alpha_s times the integral of exp(lambda - lambda_s) x0(lambda) from lambda_t to lambda_s (Lu et al.
    2022, equation 14). One pair makes it DDIM. At clean data, s = 0, lambda is infinite and the newest x0 is what is left.
    """
    if schedule.at(s) == 1:
        return known[0][1]
    # Where alpha_bar = 0 (zero terminal SNR) lambda is minus infinity: no polynomial goes through what was said there.
    known = [known[0], *((time, x0) for time, x0 in known[1:] if min(schedule.at(time), schedule.at(t)) > 0)]
    start, h = half_log_snr(schedule, t), half_log_snr(schedule, s) - half_log_snr(schedule, t)
    moments = [-torch.expm1(-h)]  # the integral of exp(u - h) u^n from 0 to h, for n = 0, 1, ..
    for n in range(1, len(known)):
        moments.append(h**n - n * moments[-1])
    nodes = torch.stack([half_log_snr(schedule, time) - start for time, _ in known])
    powers = nodes[None, :] ** torch.arange(len(known))[:, None]
    weights = torch.linalg.solve(powers, torch.stack(moments))  # so that every power of u is integrated exactly
    x_s = like(((1 - schedule.at(s)) / (1 - schedule.at(t))).sqrt(), x) * x
    return x_s + sum(like(schedule.at(s).sqrt() * weight, x) * x0 for weight, (_, x0) in zip(weights, known, strict=True))


def final(iterator: Iterable[Step]) -> Tensor:
    """The last x of a sampler, shape (N, ..); raises ValueError if there was no step."""
    last = deque(iterator, maxlen=1)
    if not last:
        raise ValueError("the sampler made no step")
    return last[0].x


def pairs(schedule: Schedule, steps: int | Pairs, spacing: str = "trailing") -> Pairs:
    """steps as explicit pairs (t, s); raises ValueError unless each s is the next t, below its t, and all lie in 0 .. T."""
    if isinstance(steps, int):
        return timesteps(len(schedule), steps, spacing)
    try:
        steps = [(int(t), int(s)) for t, s in steps]
    except TypeError as error:
        raise ValueError(f"steps must be a number of steps or pairs (t, s), got {steps!r}") from error
    chained = all(s == t for (_, s), (t, _) in zip(steps, steps[1:], strict=False))
    if not steps or not chained or any(not 0 <= s < t <= len(schedule) for t, s in steps):
        raise ValueError(f"steps must be pairs (t, s) with {len(schedule)} >= t > s >= 0, each s the next t, got {steps}")
    return steps


def noise_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal noise of the shape, dtype and device of x, drawn on the generator's own device.

    A CPU generator thus gives the same noise whatever device samples.
    """
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, dtype=x.dtype, device=device, generator=generator).to(x.device)
