"""The explorer of section 4.1: the reverse variance against the number of steps, and which gap of the likelihood bound vanishes."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ..gaussian import posterior_variance
from ..plots import BLACK, BLUE, VERMILLION
from ..schedules import Schedule
from .explorer import Explorer
from .figure import Control, Frame

VARIANCES = ("small", "large", "optimal")
LENGTHS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
STILL_LENGTHS = (10, 100, 1000, 10_000)
SPREADS = (0.1, 0.5, 1.0, 2.0)  # standard deviations of the data
COLOURS = {"small": BLUE, "large": VERMILLION, "optimal": BLACK}


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


class _Sheet:
    """Two panels, drawn once: ratios over t for the chosen T above, gaps over T below; a picture moves lines and a dot."""

    def __init__(self) -> None:
        figure = Figure(figsize=(4.8, 4.8), dpi=100, layout="none")
        self.canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 1, left=0.17, right=0.96, top=0.97, bottom=0.11, hspace=0.42)
        top = figure.add_subplot(grid[0], xscale="log", yscale="log", xlim=(0.9, 1.1e5), ylim=(0.07, 14))
        top.axhline(1, color="0.8", lw=1)
        (self.ratio,) = top.plot([], [], lw=2, animated=True)
        top.set_yticks([0.1, 0.5, 1, 2, 10], ["0.1", "0.5", "1", "2", "10"])
        top.set_xlabel("time $t$", fontsize=12)
        top.set_ylabel("true / used variance", fontsize=11)
        below = figure.add_subplot(grid[1], xscale="log", xlim=(8, 1.3e5), ylim=(-2e-6, 20))
        below.set_yscale("symlog", linthresh=1e-5, linscale=0.5)
        style = {"small": "-", "large": "-", "optimal": "--"}
        self.lines = {v: below.plot([], [], color=COLOURS[v], ls=style[v], label=v, animated=True)[0] for v in VARIANCES}
        (self.dot,) = below.plot([], [], "o", ms=9, mew=1.5, animated=True)
        below.set_yticks([0, 1e-4, 1e-2, 1], ["0", "0.0001", "0.01", "1"])
        below.minorticks_off()
        below.set_xlabel("number of steps $T$", fontsize=12)
        below.set_ylabel("gap (nats)", fontsize=11)
        below.legend(loc="lower left", fontsize=10, frameon=False, bbox_to_anchor=(0.0, 0.12))
        top.minorticks_off()
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def pixels(self, T: int, variance: str, ratios: Tensor, gaps: dict[str, list[float]]) -> np.ndarray:
        """The sheet, uint8 (H, W, 3): ratios (T,), and for each variance the gaps at LENGTHS."""
        shown = torch.logspace(0, math.log10(T), 300).round().long().clamp(1, T).unique()
        self.ratio.set_data(shown, ratios[shown - 1])
        for name, line in self.lines.items():
            line.set_data(LENGTHS, gaps[name])
            line.set_linewidth(2.5 if name == variance else 1.2)
        self.dot.set_data([T], [gaps[variance][LENGTHS.index(T)]])
        for artist in (self.ratio, self.dot):
            artist.set_color(COLOURS[variance])
        self.dot.set_markeredgecolor("white")
        self.canvas.restore_region(self.background)
        for artist in (self.ratio, *self.lines.values(), self.dot):
            artist.axes.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def variance_gap_explorer() -> Explorer:
    """How far the bound of an exact denoiser is from the truth, for data N(0, sd^2), by the number of steps and the reverse variance."""
    sheet, schedules = _Sheet(), {T: Schedule.linear(T) for T in LENGTHS}
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
        yield Frame(sheet.pixels(T, variance, variance_ratios(schedules[T], spread**2, variance), gaps), text)

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
        stills={"T": STILL_LENGTHS, "spread": (0.1, 0.5)},
    )
