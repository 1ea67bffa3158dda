"""Samplers: short generator functions, one `Step` for every pair (t, s) of times; iterate to watch or stop, `final` to get the end."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .denoisers import Denoiser
from .gaussian import like, posterior_variance, q_posterior, step_alphas
from .schedules import Schedule, timesteps

Pairs = Sequence[tuple[int, int]]


class Step(NamedTuple):
    """What one step did: from time t to s < t it reached x = x_s, having taken x0 for the clean picture (both of shape (N, ..))."""

    t: int
    s: int
    x: Tensor
    x0: Tensor


@torch.no_grad()
def ddpm(denoiser: Denoiser, x: Tensor, schedule: Schedule, *, steps: int | Pairs | None = None, variance: str = "small",
         cond: Tensor | None = None, generator: torch.Generator | None = None) -> Iterator[Step]:
    """Ancestral sampling (Ho et al. 2020, algorithm 2): x_s ~ N(posterior mean at x0-hat, variance), without noise at the last step.

    x is x_T, shape (N, ..). steps: None for all T, a number, or explicit pairs of `timesteps`. variance: "small" for the posterior's
    beta-tilde, "large" for beta, both of the step actually taken. Raises ValueError for other arguments.
    """
    if variance not in ("small", "large"):
        raise ValueError(f"variance must be 'small' or 'large', got {variance!r}")
    for t, s in pairs(schedule, len(schedule) if steps is None else steps):
        x0 = denoiser(x, t, cond).x0
        x, small = q_posterior(schedule, x0, x, t, s)
        if s > 0:
            large = like(1 - step_alphas(schedule, t, s)[2], x)
            x = x + (small if variance == "small" else large).sqrt() * noise_like(x, generator)
        yield Step(t, s, x, x0)


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
