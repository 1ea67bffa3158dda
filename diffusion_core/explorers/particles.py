"""The explorer of section 1.1: particles that relax in a trap, and the same film run backwards with three different rules."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..mixture import GaussianMixture
from ..plots import BLUE, VERMILLION
from ..schedules import Schedule
from .explorer import Explorer
from .figure import Control, Engine, Frame, Plot, Series

DURATION, STEPS, PARTICLES = 4.0, 400, 500
SHOWN = (0, 20, 40, 60, 80, 100, 130, 160, 200, 250, 300, 350, 400)  # which of the steps the slider visits
STILLS = (0, 40, 100, 400)
WAYS = {"exact": "the exact score", "none": "no score", "clean": "the score of the clean data"}
AT_ONCE = 10  # steps between two chances to be interrupted
AXES = {"xlim": (-3.3, 3.3), "ylim": (-3.3, 3.3), "xlabel": "x₁", "ylabel": "x₂", "xticks": (-2, 0, 2), "yticks": (-2, 0, 2),
        "height": 1.0}
CLOUDS = {"forwards": BLUE, "backwards": VERMILLION}


def relaxation(steps: int = STEPS, duration: float = DURATION) -> tuple[Tensor, Schedule]:
    """Physical times h (steps + 1,) from 0 to duration, and the schedule alpha_bar = exp(-2 h) of a trap of stiffness 1 (energy in units of kT).

    The times are duration (k / steps)^2: dense near the data, where the score is steep. Raises ValueError for no steps or no duration.
    """
    if steps < 1 or not duration > 0:
        raise ValueError(f"steps and duration must be positive, got {steps} and {duration}")
    h = duration * (torch.arange(steps + 1, dtype=torch.float64) / steps) ** 2
    return h, Schedule((-2 * h).exp())


def forward(mixture: GaussianMixture, h: Tensor, n: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """n particles released from the mixture into the trap: yields their places (n, D) at each time of h, by exact Ornstein-Uhlenbeck steps."""
    x, _ = mixture.sample(n, generator)
    yield x
    for dh in h.diff():
        keep = (-dh).exp()
        x = keep * x + (1 - keep**2).sqrt() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        yield x


def backward(mixture: GaussianMixture, h: Tensor, schedule: Schedule, n: int, way: str = "exact",
             generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """n particles from N(0, I) at h[-1] back to h[0]: yields their places (n, D) at each time of h, the last one first.

    Euler-Maruyama on dx = (x + 2 score) dh + sqrt(2) dW (Anderson 1982). way "exact" takes the score of p_h, "clean" that of p_0 at all times,
    and "none" lets the trap's own rule dx = -x dh + sqrt(2) dW go on. Raises ValueError for another way.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {list(WAYS)}, got {way!r}")
    x = torch.randn(n, mixture.means.shape[1], dtype=h.dtype, generator=generator)
    yield x
    for t in range(len(h) - 1, 0, -1):
        dh = float(h[t] - h[t - 1])
        drift = -x if way == "none" else x + 2 * mixture.score(schedule, x, t if way == "exact" else 0)
        x = x + drift * dh + math.sqrt(2 * dh) * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        yield x


def clumps() -> GaussianMixture:
    """Three round clumps of weight .2, .3 and .5 in the plane."""
    return GaussianMixture([0.2, 0.3, 0.5], [[-1.3, -0.7], [1.3, -0.7], [0.0, 1.3]], [0.04, 0.04, 0.04])


def ring(parts: int = 16) -> GaussianMixture:
    """Equal clumps on a circle of radius 1.5, so close that they make a ring."""
    angle = torch.arange(parts, dtype=torch.float64) * 2 * math.pi / parts
    return GaussianMixture([1 / parts] * parts, 1.5 * torch.stack([angle.cos(), angle.sin()], 1), [0.04] * parts)


SHAPES = {"clumps": clumps, "ring": ring}


def particles_explorer(seed: int = 0) -> Explorer:
    """A time slider over particles relaxing in a trap and over their way back; the caption says how typical both clouds are of p_h."""
    h, schedule = relaxation()
    shapes = {name: shape() for name, shape in SHAPES.items()}
    # A film that a newer move interrupts goes on from there when it is asked for again.
    films: dict[tuple[str, str], list[Tensor]] = {}
    walks: dict[tuple[str, str], Iterator[Tensor]] = {}

    def filming(shape: str, way: str) -> Iterator[None]:
        key, generator = (shape, way), torch.Generator()
        if key not in films:
            films[key] = []
            walks[key] = (forward(shapes[shape], h, PARTICLES, generator.manual_seed(seed)) if way == "away" else
                          backward(shapes[shape], h, schedule, PARTICLES, way, generator.manual_seed(seed + 1)))
        while len(films[key]) <= STEPS:
            films[key].append(next(walks[key]))
            if len(films[key]) % AT_ONCE == 0:
                yield None

    def draw(t: int, shape: str, way: str) -> Iterator[Frame | None]:
        for film in ("away", way):
            yield from filming(shape, film)
        clouds = films[shape, "away"][t], films[shape, way][STEPS - t]
        typical = [float(shapes[shape].log_prob(schedule, cloud, t).mean()) for cloud in clouds]
        series = [Series(*cloud.T, colour, style=".") for cloud, colour in zip(clouds, CLOUDS.values(), strict=True)]
        yield Frame(
            [[Plot([dots], **AXES, title=title) for dots, title in zip(series, CLOUDS, strict=True)]],
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
        engine=Engine(
            "particles",
            {"duration": DURATION, "steps": STEPS, "particles": PARTICLES, "seed": seed, "ways": WAYS, "axes": AXES, "clouds": CLOUDS,
             "shapes": {name: (m.log_weights.exp().tolist(), m.means.tolist(), m.spread[:, 0].tolist()) for name, m in shapes.items()}},
        ),
        stills={"t": STILLS},
    )
