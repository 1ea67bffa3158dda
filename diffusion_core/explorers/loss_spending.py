"""The explorer of section 4.2: what a unit error of each target is worth, and which times a loss spends itself on."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..gaussian import KINDS
from ..plots import BLUE, GREEN, VERMILLION
from ..schedules import Schedule
from ..training import loss_weight
from .explorer import Explorer
from .figure import Control, Engine, Frame, Plot, Series

SCHEDULES = ("linear", "cosine", "scaled linear")
WEIGHTINGS = ("plain", "min-SNR 5", "bound")
COLOURS = {"x0": BLUE, "eps": VERMILLION, "v": GREEN}
DATA_VARIANCE = 0.25  # of the Gaussian data whose exact denoiser is judged
POINTS = 200  # of each curve
ABOVE = {"xlim": (0, 1000), "ylim": (5e-3, 2e4), "xlabel": "time t", "ylabel": "error of x₀", "yscale": "log", "legend": "upper left"}
BELOW = {"xlim": (0, 1000), "ylim": (1e-5, 1e3), "xlabel": "time t", "ylabel": "loss spent", "yscale": "log"}


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


def _shown(first: int, last: int) -> Tensor:
    """Times first .. last, evenly thinned to POINTS."""
    return first + (torch.arange(POINTS, dtype=torch.float64) * (last - first) / (POINTS - 1)).round().long()


def _panels(worth: dict[str, Tensor], spent: Tensor, predicts: str, half: int) -> list[list[Plot]]:
    """Above, the unit errors (T,) of each target; below, the shares (T - 1,) spent on t = 2 .. T, 1 being evenly, and the time `half`."""
    t, u = _shown(1, len(spent) + 1), _shown(2, len(spent) + 1)
    errors = [Series(t, worth[kind][t - 1], COLOURS[kind], kind, width=3 if kind == predicts else 1.2) for kind in KINDS]
    level, until = Series(BELOW["xlim"], (1, 1), "#999999", width=1), Series((half, half), BELOW["ylim"], "#777777", style=":", width=1.5)
    return [[Plot(errors, **ABOVE)], [Plot([level, until, Series(u, spent[u - 2] * len(spent), COLOURS[predicts])], **BELOW)]]


def loss_spending_explorer() -> Explorer:
    """Target, weighting and schedule against the times a loss is spent on, for the exact denoiser of N(0, .25)."""
    schedules = {name: named_schedule(name) for name in SCHEDULES}

    def draw(predicts: str, weighting: str, schedule: str) -> Iterator[Frame | None]:
        chosen = schedules[schedule]
        worth, spent = {kind: unit_error(chosen, kind) for kind in KINDS}, spending(chosen, predicts, weighting)
        half = 2 + int((spent.cumsum(0) < 0.5).sum())
        text = (f"{predicts}, {weighting}, {schedule}: half of the loss is spent by t = {half}; "
                f"at t = T a unit error of {predicts} is {float(worth[predicts][-1]):.3g} of x0")
        yield Frame(_panels(worth, spent, predicts, half), text)

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
        "time, 1 being evenly: with the weights of the bound most of it at the first times, with plain eps early, with plain v more evenly.",
        engine=Engine("loss_spending", {"points": POINTS, "variance": DATA_VARIANCE, "colours": COLOURS, "above": ABOVE, "below": BELOW}),
        stills={"schedule": ("linear", "cosine")},
    )
