"""The DDPM explorer: a noised picture, what the network makes of it, and its spectrum, at every t."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..gaussian import q_sample
from ..plots import BLACK, BLUE, VERMILLION
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures, Plot, Series
from .pictures import tile

TITLES = ("xₜ", "x₀-hat", "ε-hat")
COLOURS = {"clean": BLUE, "noised": VERMILLION, "noise": BLACK}
AXES = {"ylim": (1e-2, 1e3), "xlabel": "frequency (cycles per picture)", "ylabel": "power", "yscale": "log", "legend": "upper right"}


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


def _spectra(x0: Tensor, x_t: Tensor, axes: dict) -> Plot:
    """The spectra of the pictures x0 and x_t (C, H, W), and that of noise."""
    clean, noised = radial_spectrum(x0), radial_spectrum(x_t)
    frequencies = np.arange(1, len(clean) + 1)
    return Plot([Series(frequencies, clean, COLOURS["clean"], "x₀", "--"), Series(frequencies, noised, COLOURS["noised"], "xₜ"),
                 Series(axes["xlim"], (1, 1), COLOURS["noise"], "pure noise", ":", 1)], **axes)


def forward_explorer(
    denoiser: Denoiser,
    x0: Tensor,
    cond: Tensor | None = None,
    *,
    names: Sequence[str] | None = None,
    seed: int = 0,
    shipped: str | None = None,
) -> Explorer:
    """A picture noised to t: x_t, the denoiser's x0-hat and eps-hat, and the power spectrum of x_t.

    x0 (N, C, H, W) are the pictures to choose from, cond (N,) the labels given to the denoiser, names (N,)
    what the slider calls the pictures. eps stays the same at every t, so the slider moves along one path. shipped names the denoiser's
    weights, for pages (None: a page shows frames computed beforehand). Raises ValueError for another number of names or labels.
    """
    names = [f"picture {k + 1}" for k in range(len(x0))] if names is None else names
    if len(names) != len(x0) or (cond is not None and len(cond) != len(x0)):
        raise ValueError(f"names and cond must have one entry for each of the {len(x0)} pictures")
    schedule = denoiser.schedule
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(seed))
    axes = AXES | {"xlim": (1, min(x0.shape[-2:]) // 2)}
    times = sorted({max(1, round(len(schedule) * k / 40)) for k in range(41)})

    @torch.inference_mode()
    def draw(t: int, picture: int) -> Iterator[Frame]:
        row = slice(picture, picture + 1)
        x_t = q_sample(schedule, x0[row], t, eps[row])
        prediction = denoiser(x_t, t, None if cond is None else cond[row])
        x0_error, eps_error = rms(prediction.x0 - x0[row]), rms(prediction.eps - eps[row])
        above = [Pictures(tile(x, 1), title) for x, title in zip((x_t, prediction.x0, prediction.eps), TITLES, strict=True)]
        yield Frame(
            [above, [_spectra(x0[picture], x_t[0], axes)]],
            f"t = {t}: alpha_bar = {float(schedule.alpha_bar[t]):.3f}; root-mean-square error "
            f"of x0-hat {x0_error:.2f}, of eps-hat {eps_error:.2f}",
        )

    arrays = {"x0": x0.numpy()} | ({} if cond is None else {"cond": cond.int().numpy()})
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
        engine=shipped and Engine("forward", {"seed": seed, "titles": TITLES, "colours": COLOURS, "axes": axes, "network": shipped}, arrays, [shipped]),
        stills={"t": times[::5]},
    )
