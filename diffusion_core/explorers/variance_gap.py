"""The explorer of section 4.1: the reverse variance against the number of steps, and which gap of the likelihood bound vanishes."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..gaussian import posterior_variance
from ..plots import BLACK, BLUE, VERMILLION
from ..schedules import Schedule
from .explorer import Explorer
from .figure import Control, Engine, Frame, Plot, Series

VARIANCES = ("small", "large", "optimal")
LENGTHS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
STILL_LENGTHS = (10, 100, 1000, 10_000)
SPREADS = (0.1, 0.5, 1.0, 2.0)  # standard deviations of the data
COLOURS = {"small": BLUE, "large": VERMILLION, "optimal": BLACK}
STYLES = {"small": "-", "large": "-", "optimal": "--"}
ABOVE = {"xlim": (0.9, 1.1e5), "ylim": (0.07, 14), "xlabel": "time t", "ylabel": "true / used", "xscale": "log", "yscale": "log",
         "yticks": (0.1, 0.5, 1, 2, 10)}
BELOW = {"xlim": (8, 1.3e5), "ylim": (-2e-6, 20), "xlabel": "number of steps T", "ylabel": "gap (nats)", "xscale": "log", "yscale": "symlog",
         "linear_below": 1e-5, "yticks": (0, 1e-4, 1e-2, 1), "legend": "lower left"}


def state_variances(schedule: Schedule, data_variance: float) -> Tensor:
    """Variance of x_t for x0 ~ N(0, data_variance), t = 0 .. T, float64 (T + 1,). Raises ValueError unless data_variance is positive."""
    if not data_variance > 0:
        raise ValueError(f"data_variance must be positive, got {data_variance}")
    return schedule.alpha_bar * data_variance + 1 - schedule.alpha_bar


def variance_ratios(schedule: Schedule, data_variance: float, variance: str) -> Tensor:
    """True variance of x_{t-1} given x_t over the one the step has, t = 1 .. T, float64 (T,), for x0 ~ N(0, data_variance).

    The true one is beta_t V_{t-1} / V_t with V of `state_variances`. variance is "small", "large" (as in `gaussian.reverse_step`: small
    takes beta-tilde_2 at t = 1) or "optimal", the true one. Raises ValueError for another, a data_variance that is not positive, or T < 2.
    """
    if variance not in VARIANCES:
        raise ValueError(f"variance must be one of {VARIANCES}, got {variance!r}")
    if len(schedule) < 2:
        raise ValueError(f"the schedule must have at least 2 steps, got {len(schedule)}")
    V, beta = state_variances(schedule, data_variance), schedule.betas[1:]
    true, t = beta * V[:-1] / V[1:], torch.arange(2, len(schedule) + 1)
    small = posterior_variance(schedule, t, t - 1)
    return true / {"small": torch.cat([small[:1], small]), "large": beta, "optimal": true}[variance]


def bound_gap(schedule: Schedule, data_variance: float, variance: str) -> float:
    """Nats by which the likelihood bound of the exact denoiser misses the entropy of N(0, data_variance); arguments as `variance_ratios`.

    KL(q(x_T) || N(0, 1)) and, for each step, the KL of two Gaussians of equal means whose variances have ratio r: (r - 1 - log r) / 2.
    """
    r, last = variance_ratios(schedule, data_variance, variance), state_variances(schedule, data_variance)[-1]
    return float(0.5 * (_excess(last) + _excess(r).sum()))


def _excess(ratio: Tensor) -> Tensor:
    d = ratio - 1
    return d - torch.log1p(d)  # not r - 1 - log r, which loses ratios close to 1


def _panels(T: int, variance: str, ratios: Tensor, gaps: dict[str, list[float]]) -> list[list[Plot]]:
    """Ratios (T,) over t above; below, for each variance, the gaps at LENGTHS, with a dot at T."""
    shown = torch.logspace(0, math.log10(T), 300, dtype=torch.float64).round().long().clamp(1, T).unique()
    above = [Series([0.9, 1.1e5], [1, 1], "#999999", width=1), Series(shown, ratios[shown - 1], COLOURS[variance])]
    curves = [Series(LENGTHS, gaps[name], COLOURS[name], name, STYLES[name], 2.5 if name == variance else 1.2) for name in VARIANCES]
    dot = Series([T], [gaps[variance][LENGTHS.index(T)]], COLOURS[variance], style="o")
    return [[Plot(above, **ABOVE)], [Plot([*curves, dot], **BELOW)]]


def variance_gap_explorer() -> Explorer:
    """How far the bound of an exact denoiser is from the truth, for data N(0, sd^2), by the number of steps and the reverse variance."""
    schedules = {T: Schedule.linear(T) for T in LENGTHS}
    known: dict[float, dict[str, list[float]]] = {}  # of each spread; kept, since the longest schedules take a while

    def draw(T: int, variance: str, spread: float) -> Iterator[Frame | None]:
        if spread not in known:
            gaps = {}
            for name in VARIANCES:
                gaps[name] = [bound_gap(schedule, spread**2, name) for schedule in schedules.values()]
                yield None
            known[spread] = gaps
        gaps = known[spread]
        here = gaps[variance][LENGTHS.index(T)]
        text = f"T = {T}, {variance} variance, data sd {spread:g}: gap {here:.2g} nats; at T = {LENGTHS[-1]}: {gaps[variance][-1]:.2g}"
        yield Frame(_panels(T, variance, variance_ratios(schedules[T], spread**2, variance), gaps), text)

    return Explorer(
        draw,
        [
            Control("T", "number of steps T", LENGTHS, [f"{T:,}" for T in LENGTHS], start=LENGTHS.index(1000)),
            Control("variance", "variance of a reverse step", VARIANCES),
            Control("spread", "standard deviation of the data", SPREADS, [f"{s:g}" for s in SPREADS], start=SPREADS.index(0.5)),
        ],
        title="Which gap vanishes?",
        alt="Above, the true variance of each backward step over the one that is used. For the small variance it is 2 at the first steps, "
        "whatever T is, and falls to 1; for the large one it is near 1. Below, the gap against T on logarithmic axes: it levels off near "
        "half a nat for the small variance, falls in proportion to 1 / T for the large one, and is 0 for the optimal one.",
        engine=Engine("variance_gap", {"lengths": LENGTHS, "colours": COLOURS, "styles": STYLES, "above": ABOVE, "below": BELOW}),
        stills={"T": STILL_LENGTHS, "spread": (0.1, 0.5)},
    )
