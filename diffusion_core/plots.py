"""Helpers for the notebooks' figures: a style with colours for everybody, picture grids, a progress bar."""

import os
from collections.abc import Iterable, Sequence

import matplotlib.pyplot as plt
from cycler import cycler
from torch import Tensor
from tqdm.auto import tqdm

# The palette of Okabe and Ito (2008), https://jfly.uni-koeln.de/color/
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY, YELLOW, BLACK = "#E69F00", "#56B4E9", "#F0E442", "#000000"
CYCLE = [BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK]  # without yellow: too pale for lines on white


def building_book() -> bool:
    """Whether notebooks are being executed for the book or its tests (environment variable BOOK_BUILD=1)."""
    return os.environ.get("BOOK_BUILD") == "1"


def use_style() -> None:
    """Set matplotlib's defaults for the book: colour cycle, sizes, a light grid, open frames."""
    plt.rcParams.update(
        {
            "axes.prop_cycle": cycler(color=CYCLE),
            "axes.grid": True,
            "grid.alpha": 0.3,
            "grid.linewidth": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "image.cmap": "gray",
            "font.size": 11,
            "axes.titlesize": 11,
            "figure.figsize": (7.0, 3.5),
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "legend.frameon": False,
        }
    )


def show_images(
    images: Tensor,
    columns: int = 8,
    titles: Sequence[str] | None = None,
    row_titles: Sequence[str] | None = None,
    title: str | None = None,
) -> None:
    """Draw pictures (N, C, H, W) in [-1, 1], C = 1 or 3, in rows of `columns` on a new pyplot figure.

    titles names every picture, or every column if there are as many as columns; row_titles names the rows.
    Values outside [-1, 1] are cut off. Raises ValueError for another shape or another number of titles.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"images must have shape (N, 1 or 3, H, W) with N > 0, got {tuple(images.shape)}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    if titles is not None and len(titles) not in (columns, len(images)):
        wanted = f"{columns} (columns) or {len(images)} (pictures)"
        raise ValueError(f"titles must have {wanted} entries, got {len(titles)}")
    if row_titles is not None and len(row_titles) != rows:
        raise ValueError(f"row_titles must have {rows} entries, got {len(row_titles)}")
    size = min(1.2, 9 / columns)
    height = size + 0.25 * (titles is not None)
    figure, axes = plt.subplots(rows, columns, squeeze=False, figsize=(size * columns, height * rows))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[], frame_on=False)
    pixels = ((images.detach().float().cpu().clamp(-1, 1) + 1) / 2).movedim(1, -1).numpy()
    for axis, picture in zip(axes.flat, pixels, strict=False):
        axis.imshow(picture.squeeze(-1) if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
    for axis, text in zip(axes.flat, titles or [], strict=False):
        axis.set_title(text, fontsize=9)
    for axis, text in zip(axes[:, 0], row_titles or [], strict=False):
        axis.set_ylabel(text, rotation=0, ha="right", va="center", fontsize=9)
    if title is not None:
        figure.suptitle(title)


def progress(iterable: Iterable, description: str = "", total: int | None = None) -> Iterable:
    """The iterable with a tqdm progress bar, except while the book is built, where it would be printed."""
    return tqdm(iterable, desc=description, total=total, disable=building_book())
