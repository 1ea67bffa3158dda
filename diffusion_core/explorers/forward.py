"""The DDPM explorer: a noised picture, what the network makes of it, and its spectrum, at every t."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from ..denoisers import Denoiser
from ..gaussian import q_sample
from ..plots import BLACK, BLUE, VERMILLION
from .explorer import Explorer
from .figure import Control, Frame
from .pictures import to_pixels

PANELS = ("$x_t$", r"$\hat x_0$", r"$\hat\epsilon$")
DECADES = (1e-3, 1e3)  # what the spectrum's axis shows, from fine detail to broad shapes


def radial_spectrum(image: Tensor) -> np.ndarray:
    """Mean power of a picture (C, H, W) in rings of equal frequency, shape (min(H, W) // 2,).

    Entry k - 1 is the ring whose radius rounds to k cycles a picture. White noise of variance 1 has power 1
    everywhere.
    """
    height, width = image.shape[-2:]
    power = torch.fft.fft2(image.double(), norm="ortho").abs().square().mean(0).numpy()
    down, across = np.fft.fftfreq(height, 1 / height)[:, None], np.fft.fftfreq(width, 1 / width)
    ring = np.hypot(down, across).round()
    return np.array([power[ring == k].mean() for k in range(1, min(height, width) // 2 + 1)])


def rms(x: Tensor) -> float:
    """Root of the mean square over all entries."""
    return float(x.square().mean().sqrt())


class _Sheet:
    """Three pictures above a spectrum, on one figure: making it anew would cost more than the network."""

    def __init__(self, frequencies: int) -> None:
        figure = Figure(figsize=(4.8, 4.2), dpi=100, layout="none")
        self.canvas = FigureCanvasAgg(figure)
        place = {"left": 0.15, "right": 0.96, "top": 0.92, "bottom": 0.14, "hspace": 0.1, "wspace": 0.08}
        grid = figure.add_gridspec(2, 3, height_ratios=(1.25, 1), **place)
        self.images = []
        for k, name in enumerate(PANELS):
            axis = figure.add_subplot(grid[0, k])
            axis.set_axis_off()
            axis.set_title(name, fontsize=15)
            self.images.append(axis.imshow(np.zeros((2, 2)), cmap="gray", vmin=0, vmax=255))
        axis = figure.add_subplot(grid[1, :], yscale="log", ylim=DECADES, xlim=(1, frequencies))
        axis.set_xlabel("frequency (cycles per picture)", fontsize=12)
        axis.set_ylabel("power", fontsize=12)
        x = np.arange(1, frequencies + 1)
        (self.clean,) = axis.plot(x, x, color=BLUE, lw=2, ls="--", label="$x_0$")
        (self.noised,) = axis.plot(x, x, color=VERMILLION, lw=2, label="$x_t$")
        axis.axhline(1, color=BLACK, lw=1, ls=":", label="pure noise")
        axis.legend(loc="upper right", ncols=3, fontsize=12, frameon=False)

    def pixels(self, pictures: Tensor, x0: Tensor) -> np.ndarray:
        """The sheet, uint8 (H, W, 3), of pictures (3, C, H, W): x_t, x0-hat, eps-hat, and of x0 (C, H, W)."""
        for image, picture in zip(self.images, to_pixels(pictures), strict=True):
            image.set_data(picture if picture.shape[-1] == 3 else picture[..., 0])
            image.set_extent((0, picture.shape[1], picture.shape[0], 0))
        self.clean.set_ydata(radial_spectrum(x0))
        self.noised.set_ydata(radial_spectrum(pictures[0]))
        self.canvas.draw()
        return np.asarray(self.canvas.buffer_rgba())[..., :3].copy()


def forward_explorer(
    denoiser: Denoiser,
    x0: Tensor,
    cond: Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> Explorer:
    """A picture noised to t: x_t, the denoiser's x0-hat and eps-hat, and the power spectrum of x_t.

    x0 (N, C, H, W) are the pictures to choose from, cond (N,) the labels given to the denoiser, names (N,)
    what the slider calls the pictures. eps stays the same at every t, so the slider moves along one path.
    Raises ValueError for another number of names or labels.
    """
    names = [f"picture {k + 1}" for k in range(len(x0))] if names is None else names
    if len(names) != len(x0) or (cond is not None and len(cond) != len(x0)):
        raise ValueError(f"names and cond must have one entry for each of the {len(x0)} pictures")
    schedule = denoiser.schedule
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    sheet = _Sheet(min(x0.shape[-2:]) // 2)
    times = sorted({max(1, round(len(schedule) * k / 40)) for k in range(41)})

    @torch.inference_mode()
    def draw(t: int, picture: int) -> Iterator[Frame]:
        row = slice(picture, picture + 1)
        x_t = q_sample(schedule, x0[row], t, eps[row])
        prediction = denoiser(x_t, t, None if cond is None else cond[row])
        x0_error, eps_error = rms(prediction.x0 - x0[row]), rms(prediction.eps - eps[row])
        yield Frame(
            sheet.pixels(torch.cat([x_t, prediction.x0, prediction.eps]), x0[picture]),
            f"t = {t}: alpha_bar = {float(schedule.alpha_bar[t]):.3f}; root-mean-square error "
            f"of x0-hat {x0_error:.2f}, of eps-hat {eps_error:.2f}",
        )

    return Explorer(
        draw,
        [
            Control("t", "time t", times, start=len(times) // 2),
            Control("picture", "picture", range(len(x0)), names),
        ],
        title="One picture on its way to noise",
        alt="Three pictures: x_t, the network's x0-hat and its eps-hat; below them the power spectra of x_t "
        "and x0. As t grows the flat spectrum of the noise covers the picture's, high frequencies first, and "
        "x0-hat turns into a blurred average.",
        stills={"t": times[::5]},
    )
