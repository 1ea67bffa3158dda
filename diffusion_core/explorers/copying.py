"""The explorer of section 1.2: the same noise denoised by networks that saw more and more pictures, and by the perfect denoiser."""

import zlib
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ..data import fashion_mnist
from ..denoisers import Denoiser, FunctionDenoiser
from ..gaussian import Prediction, like
from ..samplers import ddim
from ..schedules import Schedule
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures
from .pictures import tile, to_pixels

STEPS = 20
COPY = 1 / 3  # a picture is a copy if its nearest training picture is this much nearer than the second
SIZES = (16, 64, 256, 1024, 8000)  # how many pictures the shipped networks were trained on
TITLES = ("sampled", "nearest training pictures")
FILES = tuple(f"copying_pictures_{n}.zlib" for n in SIZES)


def training_pictures() -> np.ndarray:
    """The bundled training pictures in the order of which the shipped network copying_aN saw the first N (recipes/copying.py), uint8 (8000, 28, 28)."""
    images, _ = fashion_mnist("train")
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).numpy()]


def picture_files() -> dict[str, bytes]:
    """The same for pages, which load no more than they need: name -> compressed bytes of the pictures up to that size, from the one before on."""
    parts = np.split(training_pictures(), SIZES[:-1])
    return {file: zlib.compress(part.tobytes()) for file, part in zip(FILES, parts, strict=True)}


def empirical_denoiser(pictures: Tensor, schedule: Schedule) -> Denoiser:
    """The denoiser with the least loss on pictures (N, ..): x0 = sum_i w_i pictures_i, w = softmax(-|x_t - sqrt(alpha_bar) pictures_i|^2 / (2 (1 - alpha_bar))).

    It takes x_t (M, ..) and t in 1 .. T, and ignores labels. Raises ValueError for no pictures.
    """
    if len(pictures) == 0:
        raise ValueError("at least one picture is needed")
    flat = pictures.flatten(1)

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        a, x = schedule.at(t), x_t.flatten(1)
        root, variance = like(a.sqrt(), x), like(1 - a, x)
        # |x - root y|^2 without |x|^2, which is the same for every picture and drops out of the softmax
        energy = root**2 * (flat**2).sum(1) - 2 * root * (x @ flat.T)
        x0 = (-energy / (2 * variance)).softmax(1) @ flat
        return Prediction(x_t, a, "x0", x0.view_as(x_t))

    return FunctionDenoiser(schedule, predict)


def nearest(x: Tensor, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Index of the nearest of pictures (N, ..) to each x (M, ..), (M,), and the root-mean-square distances to the nearest two, (M, 2).

    Raises ValueError for fewer than two pictures.
    """
    if len(pictures) < 2:
        raise ValueError(f"at least two pictures are needed, got {len(pictures)}")
    distance = torch.cdist(x.flatten(1), pictures.flatten(1), compute_mode="donot_use_mm_for_euclid_dist") / x[0].numel() ** 0.5
    found = distance.topk(2, largest=False)
    return found.indices[:, 0], found.values


def copying_explorer(networks: Mapping[str, Mapping[int, Denoiser]], pictures: Tensor, *, columns: int = 8, seed: int = 1,
                     shipped: Mapping[str, str] | None = None) -> Explorer:
    """Above, samples from one x_T by a denoiser that learned from N pictures; below, the nearest of the first N of `pictures` to each.

    networks: name of a training set -> N -> denoiser trained on its first N pictures; all sets have the same N. Beside them stands the
    perfect denoiser of the first N of `pictures` (M, C, H, W). shipped, for pages (None: a page shows frames computed beforehand): name of a
    training set -> what the names of its weights begin with, N following; pictures must then be `training_pictures`. Raises ValueError if the sets
    differ in N, N exceeds M, or pages are to show other pictures.
    """
    sizes = [sorted(by_size) for by_size in networks.values()]
    if not sizes or any(size != sizes[0] for size in sizes) or not 2 <= sizes[0][0] <= sizes[0][-1] <= len(pictures):
        raise ValueError(f"every set needs the same numbers of pictures, from 2 to {len(pictures)}, got {sizes}")
    if shipped and (tuple(sizes[0]) != SIZES or not np.array_equal(to_pixels(pictures)[..., 0], training_pictures())):
        raise ValueError(f"a page has the pictures of training_pictures() for N in {SIZES}, got {len(pictures)} pictures and {sizes[0]}")
    schedule = next(iter(next(iter(networks.values())).values())).schedule
    x_T = torch.randn(columns, *pictures.shape[1:], generator=torch.Generator().manual_seed(seed))

    @torch.inference_mode()
    def draw(n: int, who: str) -> Iterator[Frame | None]:
        denoiser = networks[who][n] if who in networks else empirical_denoiser(pictures[:n], schedule)
        for step in ddim(denoiser, x_T, schedule, steps=STEPS):
            if step.s:
                yield None
        index, distance = nearest(step.x, pictures[:n])
        copies = int((distance[:, 0] < COPY * distance[:, 1]).sum())
        text = f"{who}, N = {n:,}: {copies} of {columns} are copies; distance to the picture below {distance[:, 0].mean():.2f}"
        yield Frame([[Pictures(tile(x, columns), title)] for x, title in zip((step.x, pictures[index]), TITLES, strict=True)], text)

    names = [*networks, "perfect denoiser"]
    weights = {who: {n: f"{prefix}{n}" for n in SIZES} for who, prefix in (shipped or {}).items()}
    return Explorer(
        draw,
        [Control("n", "training pictures N", sizes[0], [f"{n:,}" for n in sizes[0]]), Control("who", "denoiser", names)],
        title="From copying to blending",
        alt="Upper row: pictures sampled from the same noise. Lower row: the nearest training picture to each. With few training pictures the two "
        "rows are equal; with many the network's pictures differ from every training picture, while the perfect denoiser's are still copies.",
        engine=shipped and Engine("copying", {"networks": weights, "files": dict(zip(SIZES, FILES, strict=True)), "columns": columns, "seed": seed,
                                              "steps": STEPS, "copy": COPY, "titles": TITLES}, {"alpha_bar": schedule.alpha_bar.numpy()},
                                  [name for by_size in weights.values() for name in by_size.values()]),
        stills={"n": sizes[0][::2]},
    )
