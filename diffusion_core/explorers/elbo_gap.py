"""The ELBO explorer: a Gaussian q is moved and widened over a posterior, and its gap is what the bound misses."""

import math
from collections.abc import Callable, Iterator

import contourpy
import matplotlib
import numpy as np
import torch
from torch import Tensor

from ..plots import BLACK, BLUE, VERMILLION
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures, Plot, Series

MEANS = tuple(k / 4 for k in range(-8, 9))
WIDTHS = (0.1, 0.15, 0.2, 0.3, 0.45, 0.7, 1.0, 1.5)
STILL_MEANS, STILL_WIDTHS = (0.0, 1.0), (0.3, 0.7, 1.0)
Z = torch.linspace(-12, 12, 4801, dtype=torch.float64)  # twenty points in the narrowest width, and the widest q to more than six of its own
FIRST, LAST, EVERY = 1840, 2960, 5  # of Z, what is shown
LEVELS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.2, 1.6, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0)  # nats; borders of the map's bands
MAP = 66, 100  # pixels, widths by means
ABOVE = {"xlim": (-2.8, 2.8), "xlabel": "z", "ylabel": "density", "legend": "upper right"}
BELOW = {"xlim": (-2.2, 2.2), "ylim": (0.08, 1.9), "xlabel": "mean of q", "ylabel": "width of q", "yscale": "log",
         "yticks": (0.1, 0.2, 0.5, 1), "height": 0.6}
KEY = {"ylim": (0, 1), "xlabel": "gap (nats)", "xscale": "log", "yticks": (), "height": 0.2}
KEY_TICKS = (0.05, 0.2, 0.8, 2, 5, 10, 20, 50)
POSTERIOR = {"colour": BLACK, "label": "p(z | x)", "style": "area"}
CURVE = {"colour": VERMILLION, "label": "q(z)"}
LINE = {"colour": "#FFFFFF", "width": 0.8}
DOT = {"colour": VERMILLION, "style": "o"}


def log_evidence(log_joint: Tensor) -> float:
    """log p(x) in nats from log p(x, z) on the grid Z, shape (4801,): the integral over z by the trapezoid rule."""
    return float(torch.logsumexp(log_joint, 0) + (Z[1] - Z[0]).log())


def gaussian_elbo(log_joint: Tensor, mean: Tensor, width: Tensor, every: int = 1) -> Tensor:
    """E_q[log p(x, z)] + entropy of q in nats, q = N(mean, width^2), for mean and width of one shape; log_joint as in `log_evidence`.

    An average over z of Kingma & Welling 2014, equation 2, by the trapezoid rule over each so-many-th point of Z: exact to about 1e-9
    from all, and to 1e-7 from every fourth, for |mean| <= 2, width in .1 .. 1.5.
    """
    entropy = 0.5 * math.log(2 * math.pi * math.e) + width.log()
    return (_normal(Z[::every], mean[..., None], width[..., None]) * log_joint[::every]).sum(-1) * (Z[every] - Z[0]) + entropy


def _normal(z: Tensor, mean: Tensor | float, width: Tensor | float) -> Tensor:
    return torch.exp(-(((z - mean) / width) ** 2) / 2) / (width * math.sqrt(2 * math.pi))


def gap_map(log_joint: Tensor) -> Tensor:
    """The gap log p(x) - ELBO in nats at the pixels of the map, shape MAP: means rise along a row, widths fall from row to row."""
    means, widths = _places()
    return log_evidence(log_joint) - torch.stack([gaussian_elbo(log_joint, means, width.expand_as(means), every=4) for width in widths])


def _places() -> tuple[Tensor, Tensor]:
    """Means and widths at the middles of the map's pixels."""
    (low, high), (narrow, wide) = BELOW["xlim"], BELOW["ylim"]
    across, up = ((torch.arange(n, dtype=torch.float64) + 0.5) / n for n in (MAP[1], MAP[0]))
    return low + (high - low) * across, narrow * (wide / narrow) ** up.flip(0)


def _coloured(gap: np.ndarray, lowest: float) -> np.ndarray:
    """Colours of gaps (H, W), uint8 (H, W, 3): one a band between two LEVELS, by its middle on a log scale from lowest to the last."""
    borders = np.array([LEVELS[0] / 2, *LEVELS, 2 * LEVELS[-1]])
    middles = np.log(borders[:-1] * borders[1:]) / 2
    colours = matplotlib.colormaps["cividis"]((middles - math.log(lowest)) / math.log(LEVELS[-1] / lowest), bytes=True)[:, :3]
    return colours[np.digitize(gap, LEVELS)]


def _lines(gap: np.ndarray) -> list[np.ndarray]:
    """Where the gap equals one of the LEVELS: lines of (mean, width), each (N, 2) float32, of about every second point found."""
    means, widths = _places()
    found = contourpy.contour_generator(means.numpy(), widths.log().numpy(), gap)
    thin = [np.concatenate([line[:-1:2], line[-1:]]) for level in LEVELS for line in found.lines(level)]
    return [np.stack([line[:, 0], np.exp(line[:, 1])], 1).astype(np.float32) for line in thin]


def elbo_gap_explorer(log_joint: Callable[[Tensor], Tensor], *, alt: str | None = None) -> Explorer:
    """A Gaussian q over the posterior of one latent z, its ELBO, and a map of the gap log p(x) - ELBO over q's mean and width.

    log_joint gives log p(x, z) in nats, for one fixed x, at z of shape (M,) in float64; the posterior should lie within |z| < 2.5. alt
    describes the figure; the default is right for a posterior with two peaks. Raises ValueError unless it returns finite values (M,).
    """
    values = log_joint(Z)
    if values.shape != Z.shape or not bool(values.isfinite().all()):
        raise ValueError(f"log_joint must give finite log p(x, z) of the shape of z, {tuple(Z.shape)}, got {tuple(values.shape)}")
    values, log_p = values.double(), log_evidence(values.double())
    z = Z[FIRST : LAST + 1 : EVERY]
    posterior = (values[FIRST : LAST + 1 : EVERY] - log_p).exp()
    gap = gap_map(values).numpy()
    lowest = max(LEVELS[0], float(gap.min()))
    key_xlim = 0.8 * lowest, 2 * LEVELS[-1]
    colours, key, lines = _coloured(gap, lowest), _coloured(np.geomspace(*key_xlim, 400)[None], lowest), _lines(gap)
    above = ABOVE | {"ylim": (0, 1.6 * float(posterior.max()))}
    key_axes = KEY | {"xlim": key_xlim, "xticks": [tick for tick in KEY_TICKS if tick > key_xlim[0]]}
    legend = Plot([], **key_axes, image=Pictures(key))  # of the colours; like the map and its lines, the same in every frame
    still = [Series(*line.T, **LINE) for line in lines]

    def draw(mean: float, width: float) -> Iterator[Frame]:
        elbo = float(gaussian_elbo(values, torch.tensor(mean).double(), torch.tensor(width).double()))
        q = Plot([Series(z, posterior, **POSTERIOR), Series(z, _normal(z, mean, width), **CURVE)], **above)
        place = Plot([*still, Series([mean], [width], **DOT)], **BELOW, image=Pictures(colours))
        text = f"mean {mean:g}, width {width:g}: ELBO {elbo:.2f}, log p(x) {log_p:.2f}; gap {log_p - elbo:.2f} nats"
        yield Frame([[q], [place], [legend]], text)

    return Explorer(
        draw,
        [
            Control("mean", "mean of q", MEANS, [f"{mean:g}" for mean in MEANS], start=MEANS.index(0.0)),
            Control("width", "width of q", WIDTHS, [f"{width:g}" for width in WIDTHS], start=WIDTHS.index(1.0)),
        ],
        title="A Gaussian q and its gap",
        alt=alt or "Above, a posterior with two peaks and the bell curve of q. Below, a map of the gap over q's mean and width, with a "
        "valley at each peak, a shallow one between them, and a dot for this q. The caption gives ELBO, log p(x) and their difference.",
        engine=Engine(
            "elbo_gap",
            {"grid": (-12, 12), "shown": (FIRST, LAST, EVERY), "above": above, "below": BELOW, "key": key_axes,
             "posterior": POSTERIOR, "curve": CURVE, "line": LINE, "dot": DOT, "shapes": {"map": colours.shape, "key": key.shape}},
            {"log_joint": values.numpy(), "map": colours, "key": key, "lines": np.concatenate([*lines, np.empty((0, 2), np.float32)]),
             "lengths": np.array([len(line) for line in lines], np.int32)},
        ),
        stills={"mean": STILL_MEANS, "width": STILL_WIDTHS},
    )
