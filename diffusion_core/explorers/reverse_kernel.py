"""The explorer of section 2.1: one step of noise undone by Bayes' rule, and how a large beta splits the answer in two."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..plots import BLACK, BLUE, ORANGE, VERMILLION
from .explorer import Explorer
from .figure import Control, Engine, Frame, Plot, Series

BETAS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
STILL_BETAS = (0.01, 0.05, 0.1, 0.5)
X_T = (0.0, 0.4, 0.8)  # the picture for -x_t is the mirror image
ALPHA_BARS = (0.5, 0.8, 0.95)
GRID = torch.linspace(-5, 5, 2001, dtype=torch.float64)
FIRST, LAST, EVERY = 560, 1440, 4  # of the grid, what is shown
AXES = {"xlim": (-2.2, 2.2), "ylim": (0, 1.6), "xlabel": "xₛ, one step cleaner", "ylabel": "density, scaled", "yticks": (),
        "legend": "upper left", "height": 0.75}
CURVES = {"prior": {"colour": BLACK, "label": "p(xₛ)", "style": ":", "width": 1.5},
          "likelihood": {"colour": ORANGE, "label": "what xₜ says", "width": 1.5},
          "kernel": {"colour": BLUE, "label": "p(xₛ | xₜ)", "width": 2.5},
          "gaussian": {"colour": VERMILLION, "label": "Gaussian", "style": "--", "width": 2.0}}


def two_humps(x: Tensor, alpha_bar: float) -> Tensor:
    """Density at x (N,) of the points -1 and 1, equally likely, noised to alpha_bar in (0, 1); shape (N,)."""
    root, sd = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    parts = torch.stack([-0.5 * ((x - centre) / sd) ** 2 for centre in (-root, root)])
    return torch.logsumexp(parts, 0).exp() / (2 * sd * math.sqrt(2 * math.pi))


def reverse_density(x: Tensor, prior: Tensor, x_t: float, beta: float) -> Tensor:
    """p(x_s | x_t) on an even grid x (N,), from p(x_s) = prior (N,) and x_t = sqrt(1 - beta) x_s + sqrt(beta) eps; shape (N,).

    Bayes' rule, scaled so that the sum over the grid is 1. Raises ValueError for a beta outside (0, 1) or a prior of another shape.
    """
    if not 0 < beta < 1:
        raise ValueError(f"beta must lie between 0 and 1, got {beta}")
    if x.dim() != 1 or prior.shape != x.shape:
        raise ValueError(f"x and prior must have one shape (N,), got {tuple(x.shape)} and {tuple(prior.shape)}")
    density = (prior.log() - (x_t - math.sqrt(1 - beta) * x) ** 2 / (2 * beta)).softmax(0)
    return density / (x[1] - x[0])


def matched_gaussian(x: Tensor, density: Tensor) -> tuple[Tensor, float]:
    """The Gaussian with the mean and variance of density on an even grid x, both (N,), and KL(density || Gaussian) in nats."""
    step = x[1] - x[0]
    mean = (density * x).sum() * step
    variance = (density * (x - mean) ** 2).sum() * step
    log_gaussian = -0.5 * ((x - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi))
    kl = (torch.xlogy(density, density) - density * log_gaussian).sum() * step
    return log_gaussian.exp(), max(float(kl), 0.0)


def peaks(density: Tensor) -> int:
    """How many interior points of density (N,) are higher than the one before and no lower than the one after."""
    return int(((density[1:-1] > density[:-2]) & (density[1:-1] >= density[2:])).sum())


def _plot(prior: Tensor, likelihood: Tensor, kernel: Tensor, gaussian: Tensor) -> Plot:
    """Four curves (N,) over GRID, the first two each to its own height, the others to one, since their heights are compared."""
    top, shown = max(kernel.max(), gaussian.max()), slice(FIRST, LAST + 1, EVERY)
    heights = (0.6 * prior / prior.max(), 0.8 * likelihood / likelihood.max(), kernel / top, gaussian / top)
    return Plot([Series(GRID[shown], y[shown], **style) for y, style in zip(heights, CURVES.values(), strict=True)], **AXES)


def reverse_kernel_explorer() -> Explorer:
    """The kernel p(x_s | x_t) of two noised points, for a step of size beta, beside the Gaussian of its mean and variance."""

    def draw(beta: float, x_t: float, alpha_bar: float) -> Iterator[Frame]:
        prior = two_humps(GRID, alpha_bar)
        kernel = reverse_density(GRID, prior, x_t, beta)
        gaussian, kl = matched_gaussian(GRID, kernel)
        likelihood = (-((x_t - math.sqrt(1 - beta) * GRID) ** 2) / (2 * beta)).exp()
        count = {1: "one peak", 2: "two peaks"}[peaks(kernel)]
        far = f"{kl:.1g}" if kl > 1e-9 else "under 1e-09"  # below that it is rounding error
        text = f"beta = {beta:g}, x_t = {x_t:g}, alpha_bar_s = {alpha_bar:g}: {count}; {far} nats from the Gaussian"
        yield Frame(_plot(prior, likelihood, kernel, gaussian), text)

    return Explorer(
        draw,
        [
            Control("beta", "step size beta", BETAS, [f"{b:g}" for b in BETAS], start=BETAS.index(0.05)),
            Control("x_t", "where the step ended, x_t", X_T, [f"{x:g}" for x in X_T], start=X_T.index(0.0)),
            Control("alpha_bar", "signal left before the step", ALPHA_BARS, [f"{a:g}" for a in ALPHA_BARS], start=1),
        ],
        title="Undoing one step",
        alt="Density of the state before a step of noise, given the state after it. For a small beta it is one narrow peak that a "
        "Gaussian fits; for a large beta it has two peaks, one near each data point, and the Gaussian covers the gap between them.",
        engine=Engine("reverse_kernel", {"grid": (-5, 5, len(GRID)), "shown": (FIRST, LAST, EVERY), "axes": AXES, "curves": CURVES}),
        stills={"beta": STILL_BETAS, "x_t": (0.0, 0.4), "alpha_bar": (0.5, 0.8)},
    )
