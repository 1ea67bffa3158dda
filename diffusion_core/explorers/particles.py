"""The explorer of section 1.1: particles that relax in a trap, and the same film run backwards with three different rules."""

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ..mixture import GaussianMixture
from ..plots import BLUE, VERMILLION
from ..schedules import Schedule
from .explorer import Explorer
from .figure import Control, Frame

DURATION, STEPS, PARTICLES = 4.0, 400, 500
SHOWN = (0, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400)  # which of the steps the slider visits
STILLS = (0, 40, 80, 130, 200, 400)
WAYS = {"exact": "the exact score", "none": "no score", "clean": "the score of the clean data"}


def relaxation(steps: int = STEPS, duration: float = DURATION) -> tuple[Tensor, Schedule]:
    """Physical times h (steps + 1,) from 0 to duration, and the schedule alpha_bar = exp(-2 h) of a trap of stiffness 1 (energy in units of kT).

    The times are duration (k / steps)^2: dense near the data, where the score is steep. Raises ValueError for no steps or no duration.
    """
    if steps < 1 or not duration > 0:
        raise ValueError(f"steps and duration must be positive, got {steps} and {duration}")
    h = duration * (torch.arange(steps + 1, dtype=torch.float64) / steps) ** 2
    return h, Schedule((-2 * h).exp())


def forward(mixture: GaussianMixture, h: Tensor, n: int, generator: torch.Generator | None = None) -> Tensor:
    """n particles released from the mixture and followed in the trap, shape (len(h), n, D): exact Ornstein-Uhlenbeck steps."""
    x, _ = mixture.sample(n, generator)
    path = [x]
    for dh in h.diff():
        keep = (-dh).exp()
        x = keep * x + (1 - keep**2).sqrt() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        path.append(x)
    return torch.stack(path)


def backward(mixture: GaussianMixture, h: Tensor, schedule: Schedule, n: int, way: str = "exact",
             generator: torch.Generator | None = None) -> Tensor:
    """n particles from N(0, I) at h[-1] back to h[0], shape (len(h), n, D), entry t at time h[t].

    Euler-Maruyama on dx = (x + 2 score) dh + sqrt(2) dW (Anderson 1982). way "exact" takes the score of p_h, "clean" that of p_0 at all times,
    and "none" lets the trap's own rule dx = -x dh + sqrt(2) dW go on. Raises ValueError for another way.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {list(WAYS)}, got {way!r}")
    x = torch.randn(n, mixture.means.shape[1], dtype=h.dtype, generator=generator)
    path = [x]
    for t in range(len(h) - 1, 0, -1):
        dh = float(h[t] - h[t - 1])
        drift = -x if way == "none" else x + 2 * mixture.score(schedule, x, t if way == "exact" else 0)
        x = x + drift * dh + math.sqrt(2 * dh) * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        path.append(x)
    return torch.stack(path[::-1])


def clumps() -> GaussianMixture:
    """Three round clumps of weight .2, .3 and .5 in the plane."""
    return GaussianMixture([0.2, 0.3, 0.5], [[-1.3, -0.7], [1.3, -0.7], [0.0, 1.3]], [0.04, 0.04, 0.04])


def ring(parts: int = 16) -> GaussianMixture:
    """Equal clumps on a circle of radius 1.5, so close that they make a ring."""
    angle = torch.arange(parts, dtype=torch.float64) * 2 * math.pi / parts
    return GaussianMixture([1 / parts] * parts, 1.5 * torch.stack([angle.cos(), angle.sin()], 1), [0.04] * parts)


SHAPES = {"clumps": clumps, "ring": ring}


class _Sheet:
    """Two clouds side by side, on one figure that is only made once."""

    def __init__(self) -> None:
        figure = Figure(figsize=(5.2, 2.8), dpi=100, layout="none")
        self.canvas = FigureCanvasAgg(figure)
        self.dots = []
        for k, (name, colour) in enumerate((("forwards", BLUE), ("backwards", VERMILLION))):
            axis = figure.add_axes((0.11 + 0.46 * k, 0.18, 0.41, 0.72), xlim=(-3.3, 3.3), ylim=(-3.3, 3.3), xlabel="$x_1$")
            axis.set_title(name, fontsize=12)
            axis.set_xticks((-2, 0, 2))
            axis.set_yticks((-2, 0, 2), () if k else ("-2", "0", "2"))
            if k == 0:
                axis.set_ylabel("$x_2$")
            self.dots += axis.plot([], [], ".", color=colour, ms=2.5)

    def pixels(self, clouds: tuple[Tensor, Tensor]) -> np.ndarray:
        """The sheet, uint8 (H, W, 3), of two clouds (N, 2)."""
        for dots, cloud in zip(self.dots, clouds, strict=True):
            dots.set_data(cloud[:, 0], cloud[:, 1])
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def particles_explorer(seed: int = 0) -> Explorer:
    """A time slider over particles relaxing in a trap and over their way back; the caption says how typical both clouds are of p_h."""
    h, schedule = relaxation()
    sheet = _Sheet()

    @cache
    def away(shape: str) -> Tensor:
        return forward(SHAPES[shape](), h, PARTICLES, torch.Generator().manual_seed(seed))

    @cache
    def back(shape: str, way: str) -> Tensor:
        return backward(SHAPES[shape](), h, schedule, PARTICLES, way, torch.Generator().manual_seed(seed + 1))

    def draw(t: int, shape: str, way: str) -> Iterator[Frame]:
        clouds = away(shape)[t], back(shape, way)[t]
        typical = [float(SHAPES[shape]().log_prob(schedule, cloud, t).mean()) for cloud in clouds]
        yield Frame(
            sheet.pixels(clouds),
            f"time h = {float(h[t]):.2f}, alpha_bar = {float(schedule.alpha_bar[t]):.3f}, back with {WAYS[way]}: "
            f"mean log p_h of the two clouds {typical[0]:.2f} and {typical[1]:.2f}",
        )

    return Explorer(
        draw,
        [
            Control("t", "time h", SHOWN, [f"{float(h[t]):.2f}" for t in SHOWN]),
            Control("shape", "data", list(SHAPES), ["three clumps", "a ring"]),
            Control("way", "way back with", list(WAYS), list(WAYS.values())),
        ],
        title="A film of particles, both ways",
        alt="Two clouds of particles at the same time h. Left, particles released from the data and spreading in a trap. Right, particles that started "
        "as a round cloud at h = 4 and run backwards. With the exact score both clouds look alike at every time; without a score the right one stays round.",
        stills={"t": STILLS},
    )
