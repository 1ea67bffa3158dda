"""The explorer of section 4.2: what a unit error of each target is worth, and which times a loss spends itself on."""

from collections.abc import Iterator

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ..gaussian import KINDS
from ..plots import BLUE, GREEN, VERMILLION
from ..schedules import Schedule
from ..training import loss_weight
from .explorer import Explorer
from .figure import Control, Frame

SCHEDULES = ("linear", "cosine", "scaled linear")
WEIGHTINGS = ("plain", "min-SNR 5", "bound")
COLOURS = {"x0": BLUE, "eps": VERMILLION, "v": GREEN}
DATA_VARIANCE = 0.25  # of the Gaussian data whose exact denoiser is judged


def named_schedule(name: str) -> Schedule:
    """T = 1000: "linear", "cosine", or "scaled linear", whose sqrt(beta) rises evenly from sqrt(.00085) to sqrt(.012), as in Stable Diffusion.

    Raises ValueError for another name.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule must be one of {SCHEDULES}, got {name!r}")
    if name == "scaled linear":
        return Schedule.from_betas(torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2)
    return Schedule.linear(1000) if name == "linear" else Schedule.cosine(1000)


def unit_error(schedule: Schedule, predicts: str) -> Tensor:
    """How large the error of x0 is where that of the target is 1, t = 1 .. T, float64 (T,): sigma / alpha for eps, sigma for v, 1 for x0.

    Raises ValueError for another target.
    """
    if predicts not in KINDS:
        raise ValueError(f"the target must be one of {KINDS}, got {predicts!r}")
    snr = schedule.snr(torch.arange(1, len(schedule) + 1))
    return {"x0": torch.ones_like(snr), "eps": snr**-0.5, "v": (snr + 1) ** -0.5}[predicts]


def x0_weight(schedule: Schedule, predicts: str, weighting: str) -> Tensor:
    """What a loss pays for a squared error of x0 at t = 2 .. T, float64 (T - 1,).

    weighting: "plain", the squared error of the target; "min-SNR 5" (Hang et al. 2023); "bound", the likelihood bound's with the posterior's
    variance, (SNR(t - 1) - SNR(t)) / 2. The last two are the same for all targets. Raises ValueError for others.
    """
    if weighting not in WEIGHTINGS:
        raise ValueError(f"weighting must be one of {WEIGHTINGS}, got {weighting!r}")
    worth, t = unit_error(schedule, predicts)[1:], torch.arange(2, len(schedule) + 1)
    if weighting == "bound":
        return 0.5 * (schedule.snr(t - 1) - schedule.snr(t))
    return loss_weight(schedule, t, predicts, None if weighting == "plain" else 5.0) / worth**2


def spending(schedule: Schedule, predicts: str, weighting: str) -> Tensor:
    """Share of the loss that the exact denoiser of N(0, .25) pays at t = 2 .. T, float64 (T - 1,), sum 1; arguments as `x0_weight`."""
    snr = schedule.snr(torch.arange(2, len(schedule) + 1))
    paid = x0_weight(schedule, predicts, weighting) * DATA_VARIANCE / (1 + DATA_VARIANCE * snr)  # times the variance of x0 given x_t
    return paid / paid.sum()


class _Sheet:
    """Two panels, drawn once: unit errors above, spending below; a picture moves lines."""

    def __init__(self) -> None:
        figure = Figure(figsize=(4.8, 4.8), dpi=100, layout="none")
        self.canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 1, left=0.18, right=0.96, top=0.97, bottom=0.11, hspace=0.42)
        top = figure.add_subplot(grid[0], yscale="log", xlim=(0, 1000), ylim=(5e-3, 2e4))
        top.set_ylabel("error of $x_0$\nfor a unit error", fontsize=11)
        self.worth = {kind: top.plot([], [], color=COLOURS[kind], label=kind, animated=True)[0] for kind in KINDS}
        top.legend(loc="upper left", fontsize=10, frameon=False)
        top.set_xlabel("time $t$", fontsize=12)
        top.minorticks_off()
        below = figure.add_subplot(grid[1], yscale="log", xlim=(0, 1000), ylim=(1e-5, 1e3))
        below.axhline(1, color="0.8", lw=1)
        (self.spent,) = below.plot([], [], lw=2, animated=True)
        self.half = below.axvline(0, color="0.4", ls=":", animated=True)
        below.set_xlabel("time $t$", fontsize=12)
        below.set_ylabel("loss spent (1 = evenly)", fontsize=11)
        below.minorticks_off()
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def pixels(self, worth: dict[str, Tensor], spent: Tensor, predicts: str, half: int) -> np.ndarray:
        """The sheet, uint8 (H, W, 3): unit errors (T,) of each target, and the shares (T - 1,) spent on t = 2 .. T."""
        for kind, line in self.worth.items():
            line.set_data(range(1, len(worth[kind]) + 1), worth[kind])
            line.set_linewidth(3 if kind == predicts else 1.2)
        self.spent.set_data(range(2, len(spent) + 2), spent * len(spent))
        self.spent.set_color(COLOURS[predicts])
        self.half.set_xdata([half, half])
        self.canvas.restore_region(self.background)
        for artist in (*self.worth.values(), self.half, self.spent):
            artist.axes.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def loss_spending_explorer() -> Explorer:
    """Target, weighting and schedule against the times a loss is spent on, for the exact denoiser of N(0, .25)."""
    sheet, schedules = _Sheet(), {name: named_schedule(name) for name in SCHEDULES}

    def draw(predicts: str, weighting: str, schedule: str) -> Iterator[Frame | None]:
        chosen = schedules[schedule]
        worth, spent = {kind: unit_error(chosen, kind) for kind in KINDS}, spending(chosen, predicts, weighting)
        half = 2 + int((spent.cumsum(0) < 0.5).sum())
        text = (f"{predicts}, {weighting}, {schedule}: half of the loss is spent by t = {half}; "
                f"at t = T a unit error of {predicts} is {float(worth[predicts][-1]):.3g} of x0")
        yield Frame(sheet.pixels(worth, spent, predicts, half), text)

    return Explorer(
        draw,
        [
            Control("predicts", "target", KINDS, start=KINDS.index("eps")),
            Control("weighting", "weighting of its squared error", WEIGHTINGS),
            Control("schedule", "schedule", SCHEDULES, start=SCHEDULES.index("cosine")),
        ],
        title="Which times does the loss spend itself on?",
        alt="Above, the error of x0 that a unit error of each target makes, against time: for x0 it is 1, for v it rises from near 0 to 1, for "
        "eps it crosses 1 where picture and noise are equally strong and then grows without bound. Below, the share of the loss spent at each "
        "time: with the weights of the bound most of it at the first times, with plain eps early, with plain v more evenly.",
    )
