"""The averaging explorer: gradient descent with noise on a parabola, and the average of its weights, exact in mean and variance."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..plots import BLUE, VERMILLION
from .explorer import Explorer
from .figure import Control, Engine, Frame, Plot, Series

HALF_LIVES = (0, 2, 5, 10, 20, 50, 100, 200)  # updates; 0: no average
RATES = (0.02, 0.05, 0.1, 0.3)
STILL_HALF_LIVES, STILL_RATES = (0, 5, 20, 50, 200), (0.02, 0.1, 0.3)
STEPS, START = 400, 3.0
COLOURS = (BLUE, VERMILLION)  # of the weight and of its average
SEED, EVERY = 0, 2  # of the run that is shown; the expected losses are shown at every second update
ABOVE = {"xlim": (0, STEPS), "ylim": (-1.5, 3.2), "xlabel": "update", "ylabel": "value", "legend": "upper right"}
BELOW = {"xlim": (0, STEPS), "ylim": (5e-4, 6), "xlabel": "update", "ylabel": "expected loss", "yscale": "log", "legend": "upper right"}


def decay_of(half_life: float) -> float:
    """The decay d with d^half_life = 1/2; 0 for a half-life of 0. Raises ValueError for a negative one."""
    if half_life < 0:
        raise ValueError(f"a half-life must be at least 0, got {half_life!r}")
    return 0.5 ** (1 / half_life) if half_life else 0.0


def moments(rate: float, decay: float, steps: int = STEPS, start: float = START) -> tuple[Tensor, Tensor]:
    """Means and variances (steps + 1, 2), float64, of the weight w and of its average s at updates 0 .. steps.

    w <- (1 - rate) w + rate xi, xi ~ N(0, 1), is gradient descent on w^2 / 2 with a noisy gradient; then s <- decay s + (1 - decay) w.
    Both start at `start`. The pair is linear in its past, so mean and covariance follow a recursion of their own.
    """
    a = 1 - rate
    step = torch.tensor([[a, 0.0], [(1 - decay) * a, decay]], dtype=torch.float64)
    noise = rate * torch.tensor([[1.0], [1 - decay]], dtype=torch.float64)
    mean, cov = torch.full((2,), start, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    means, variances = [mean], [cov.diag()]
    for _ in range(steps):
        mean, cov = step @ mean, step @ cov @ step.T + noise @ noise.T
        means.append(mean)
        variances.append(cov.diag())
    return torch.stack(means), torch.stack(variances)


def path(rate: float, decay: float, seed: int = 0, steps: int = STEPS, start: float = START) -> Tensor:
    """One run of the same recursion, (steps + 1, 2), float64; the seed decides its noise."""
    xi = torch.randn(steps, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).tolist()
    rows, w, s = [(start, start)], start, start
    for noise in xi:
        w = (1 - rate) * w + rate * noise
        s = decay * s + (1 - decay) * w
        rows.append((w, s))
    return torch.tensor(rows, dtype=torch.float64)


def excess(rate: float, decay: float) -> Tensor:
    """Expected loss above the minimum, E[w^2] / 2, of weight and average at updates 0 .. STEPS, (STEPS + 1, 2)."""
    mean, variance = moments(rate, decay)
    return (mean**2 + variance) / 2


def _panels(run: Tensor, expected: Tensor) -> list[list[Plot]]:
    """Weight and average of a run above, their expected losses below; both (STEPS + 1, 2)."""

    def pair(values: Tensor, every: int, labels: tuple[str, str]) -> list[Series]:
        k = torch.arange(0, STEPS + 1, every)
        return [Series(k, column[k], colour, label, width=width)
                for column, colour, label, width in zip(values.T, COLOURS, labels, (1, 2), strict=True)]

    zero = Series(ABOVE["xlim"], (0, 0), "#777777", style=":", width=1.5)
    return [[Plot([zero, *pair(run, 1, ("weight", "average"))], **ABOVE)], [Plot(pair(expected, EVERY, ("of the weight", "of the average")), **BELOW)]]


def ema_explorer() -> Explorer:
    """Noisy gradient descent on a parabola and the exponential moving average of its weight, over half-life and learning rate."""

    def draw(half_life: int, rate: float) -> Iterator[Frame]:
        decay = decay_of(half_life)
        expected = excess(rate, decay)
        at = ", ".join(f"{float(expected[k, 0]):.4f} and {float(expected[k, 1]):.4f} at {k}" for k in (50, STEPS))
        name = f"half-life {half_life}, decay {decay:.4f}" if half_life else "no average"
        yield Frame(_panels(path(rate, decay, SEED), expected), f"{name}, rate {rate:g}: loss of weight and average {at}")

    return Explorer(
        draw,
        [Control("half_life", "half-life (updates)", HALF_LIVES, ["off", *map(str, HALF_LIVES[1:])], start=HALF_LIVES.index(20)),
         Control("rate", "learning rate", RATES, start=RATES.index(0.1))],
        title="How long to average",
        alt="Above, a weight falls from 3 and then jitters around 0; its average is smoother and later. Below, the expected loss of both on a "
        "logarithmic scale: the average's falls later and ends lower. The caption gives both losses at updates 50 and 400.",
        engine=Engine("ema_half_life", {"steps": STEPS, "start": START, "seed": SEED, "every": EVERY, "colours": COLOURS, "above": ABOVE, "below": BELOW}),
        stills={"half_life": STILL_HALF_LIVES, "rate": STILL_RATES})


def stationary_ratio(rate: float, decay: float) -> float:
    """Var[s] / Var[w] in the long run, (1 - d)(1 + a d) / ((1 + d)(1 - a d)) with a = 1 - rate; raises ValueError outside 0 < rate < 2, 0 <= d < 1."""
    a, d = 1 - rate, decay
    if not (0 < rate < 2 and 0 <= d < 1) or not math.isfinite(rate):
        raise ValueError(f"rate must lie in (0, 2) and decay in [0, 1), got {rate!r} and {decay!r}")
    return (1 - d) * (1 + a * d) / ((1 + d) * (1 - a * d))
