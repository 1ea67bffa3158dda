"""The ELBO explorer: a Gaussian q is moved and widened over a posterior, and its gap is what the bound misses."""

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from ..plots import BLACK, BLUE, VERMILLION
from .explorer import Explorer
from .figure import Control, Frame

MEANS = tuple(k / 4 for k in range(-8, 9))
WIDTHS = (0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5)
STILL_MEANS, STILL_WIDTHS = MEANS[2:-2:2], (0.15, 0.3, 0.7, 1.0)
Z = torch.linspace(-12, 12, 4801, dtype=torch.float64)  # twenty points in the narrowest width, and the widest q to more than six of its own
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2, 3, 5, 10, 20, 50)  # nats; contours of the map


def log_evidence(log_joint: Tensor) -> float:
    """log p(x) in nats from log p(x, z) on the grid Z, shape (4801,): the integral over z by the trapezoid rule."""
    return float(torch.logsumexp(log_joint, 0) + (Z[1] - Z[0]).log())


def gaussian_elbo(log_joint: Tensor, mean: Tensor, width: Tensor) -> Tensor:
    """E_q[log p(x, z)] + entropy of q in nats, q = N(mean, width^2), for mean and width of one shape; log_joint as in `log_evidence`.

    An average over z of Kingma & Welling 2014, equation 2, by the trapezoid rule; exact to about 1e-9 for |mean| <= 2, width in .1 .. 1.5.
    """
    mean, width = mean[..., None], width[..., None]
    q = torch.exp(-(((Z - mean) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))
    entropy = 0.5 * math.log(2 * math.pi * math.e) + width[..., 0].log()
    return (q * log_joint).sum(-1) * (Z[1] - Z[0]) + entropy


class _Sheet:
    """q and the posterior above the map of the gap. All but q is drawn once and kept, since the map is slow: a picture adds a curve and a dot."""

    def __init__(self, log_joint: Tensor) -> None:
        figure = Figure(figsize=(4.8, 4.8), dpi=100, layout="none")
        self.canvas = FigureCanvasAgg(figure)
        grid = figure.add_gridspec(2, 1, left=0.14, right=0.96, top=0.97, bottom=0.12, hspace=0.38)
        near = (Z > -2.8) & (Z < 2.8)
        self.near, log_p = near, log_evidence(log_joint)
        posterior = (log_joint - log_p).exp()[near]
        top = figure.add_subplot(grid[0], xlim=(-2.8, 2.8), ylim=(0, 1.3 * float(posterior.max())))
        top.fill_between(Z[near], posterior, color=BLACK, alpha=0.25, lw=0, label="$p(z \\mid x)$")
        (self.curve,) = top.plot(Z[near], posterior, color=VERMILLION, lw=2, label="$q(z)$", animated=True)
        top.set_xlabel("$z$", fontsize=12)
        top.set_ylabel("density", fontsize=12)
        top.legend(loc="upper right", fontsize=12, frameon=False)

        means, widths = torch.linspace(-2.2, 2.2, 89).double(), torch.logspace(math.log10(0.08), math.log10(1.9), 41).double()
        gap = log_p - gaussian_elbo(log_joint, *torch.meshgrid(means, widths, indexing="xy"))
        below = figure.add_subplot(grid[1], yscale="log")
        below.contourf(means, widths, gap.numpy(), LEVELS, cmap="cividis", norm=LogNorm(max(LEVELS[0], float(gap.min())), LEVELS[-1]), extend="both")
        lines = below.contour(means, widths, gap.numpy(), LEVELS, colors="white", linewidths=0.6)
        below.clabel(lines, fontsize=8, fmt="%g")
        (self.dot,) = below.plot([0], [1], "o", color=VERMILLION, ms=10, mec="white", mew=1.5, animated=True)
        below.set_yticks([0.1, 0.2, 0.5, 1.0], ["0.1", "0.2", "0.5", "1"])
        below.minorticks_off()
        below.set_xlabel("mean of $q$", fontsize=12)
        below.set_ylabel("width of $q$", fontsize=12)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def pixels(self, mean: float, width: float) -> np.ndarray:
        """The sheet for this q, uint8 (H, W, 3)."""
        z = Z[self.near]
        self.curve.set_ydata(torch.exp(-(((z - mean) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi)))
        self.dot.set_data([mean], [width])
        self.canvas.restore_region(self.background)
        for artist in (self.curve, self.dot):
            artist.axes.draw_artist(artist)
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def elbo_gap_explorer(log_joint: Callable[[Tensor], Tensor], *, alt: str | None = None) -> Explorer:
    """A Gaussian q over the posterior of one latent z, its ELBO, and a map of the gap log p(x) - ELBO over q's mean and width.

    log_joint gives log p(x, z) in nats, for one fixed x, at z of shape (M,) in float64; the posterior should lie within |z| < 2.5. alt
    describes the figure; the default is right for a posterior with two peaks. Raises ValueError unless it returns finite values (M,).
    """
    values = log_joint(Z)
    if values.shape != Z.shape or not bool(values.isfinite().all()):
        raise ValueError(f"log_joint must give finite log p(x, z) of the shape of z, {tuple(Z.shape)}, got {tuple(values.shape)}")
    values, log_p = values.double(), log_evidence(values.double())
    sheet = _Sheet(values)

    def draw(mean: float, width: float) -> Iterator[Frame]:
        elbo = float(gaussian_elbo(values, torch.tensor(mean).double(), torch.tensor(width).double()))
        yield Frame(
            sheet.pixels(mean, width),
            f"mean {mean:g}, width {width:g}: ELBO {elbo:.2f}, log p(x) {log_p:.2f}; gap {log_p - elbo:.2f} nats",
        )

    return Explorer(
        draw,
        [
            Control("mean", "mean of q", MEANS, [f"{mean:g}" for mean in MEANS], start=MEANS.index(0.0)),
            Control("width", "width of q", WIDTHS, [f"{width:g}" for width in WIDTHS], start=WIDTHS.index(1.0)),
        ],
        title="A Gaussian q and its gap",
        alt=alt or "Above, a posterior with two peaks and the bell curve of q. Below, a map of the gap over q's mean and width, with a "
        "valley at each peak, a shallow one between them, and a dot for this q. The caption gives ELBO, log p(x) and their difference.",
        stills={"mean": STILL_MEANS, "width": STILL_WIDTHS},
    )
