"""The fill-order explorer: a picture is shown pixel by pixel, in an order, and a masked network says what it expects of the rest."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..pixels import PixelNet, hide, stages
from .explorer import Explorer
from .figure import Control, Frame

ORDERS = {"raster": "row by row", "any": "random", "coarse": "coarse to fine"}
SHOWN = (0, 4, 16, 32, 49, 98, 147, 182)
STILL_SHOWN = (0, 16, 49, 98, 147)
ZOOM, GAP = 10, 8  # screen pixels a pixel; between the panels
HIDDEN = np.array((86, 180, 233), dtype=np.uint8)  # the palette's sky blue: no grey level
LIGHT, DARK = np.array((255, 255, 255.0)), np.array((213, 94, 0.0))  # no doubt .. the doubt of eight equally likely levels


def places(order: str, size: int, seed: int = 0) -> Tensor:
    """The place of every pixel, 0 .. size^2 - 1, in a named order; "coarse" takes the pixels of a stage row by row. (size, size)."""
    stage = stages(order, size, torch.Generator().manual_seed(seed))
    return stage.flatten().argsort(stable=True).argsort().reshape(size, size)


@torch.no_grad()
def expected(net: PixelNet, x: Tensor, hidden: Tensor) -> Tensor:
    """Probabilities (K, size, size) that net gives the levels of one picture x (size, size); where a pixel is shown, 1 for its level."""
    levels = net.config.levels
    p = net(hide(x, hidden, levels)[None])[0].softmax(0)
    return torch.where(hidden, p, torch.nn.functional.one_hot(x, levels).movedim(-1, 0).to(p))


def fill_order_explorer(net: PixelNet, pictures: Tensor, names: list[str], *, seed: int = 0) -> Explorer:
    """Pictures of levels (N, size, size), called `names`, revealed in three orders to a network for any order.

    Four panels: what is shown (the rest in blue); the mean of what the network expects; its doubt, from white to orange at log2 K bits; and all hidden
    pixels drawn at once, each by itself, always with the same random numbers. Raises ValueError for a network in a fixed order and for other shapes.
    """
    size, levels = net.config.size, net.config.levels
    if net.config.order != "any":
        raise ValueError(f"the network must be one for any order, got one for {net.config.order!r}")
    if pictures.dim() != 3 or pictures.shape[1:] != (size, size) or len(names) != len(pictures):
        raise ValueError(f"expected {len(names)} pictures of levels ({size}, {size}), got {tuple(pictures.shape)}")
    rank = {order: places(order, size, seed) for order in ORDERS}
    chance = torch.rand(size, size, generator=torch.Generator().manual_seed(seed + 1))
    by_name = dict(zip(names, pictures, strict=True))
    count = [min(n, size**2) for n in SHOWN]

    def draw(order: str, shown: int, picture: str) -> Iterator[Frame]:
        x, hidden = by_name[picture], rank[order] >= shown
        p = expected(net, x, hidden)
        doubt = -torch.xlogy(p, p).sum(0) / math.log(2)
        mean = (p * torch.arange(levels)[:, None, None]).sum(0)
        drawn = (p.cumsum(0) < chance).sum(0).clamp(max=levels - 1)
        seen = _grey(x, levels)
        seen[hidden.numpy()] = HIDDEN
        share = (doubt / math.log2(levels)).clamp(0, 1).numpy()[:, :, None]
        panels = [seen, _grey(mean, levels), ((1 - share) * LIGHT + share * DARK).round().astype(np.uint8), _grey(drawn, levels)]
        paid = -p.gather(0, x[None])[0].log()[hidden].mean() / math.log(2)
        yield Frame(_sheet(panels), f"{ORDERS[order]}, {shown} of {size**2} pixels shown. Of a hidden pixel the network is {float(doubt[hidden].mean()):.2f} "
                    f"bits in doubt on average; the true levels, all predicted at once, cost {float(paid):.2f} bits a pixel.")

    return Explorer(
        draw,
        [
            Control("order", "order", tuple(ORDERS), tuple(ORDERS.values()), start=1),
            Control("shown", "pixels shown", count, start=count.index(16)),
            Control("picture", "picture", names),
        ],
        title="In which order, and how far?",
        alt="Four panels of 14 x 14 pixels: the pixels shown so far, with the hidden ones in blue; the network's mean guess of the whole picture; its doubt about "
        "each hidden pixel, white for none and orange for much; and the picture with all hidden pixels drawn at once.",
        stills={"shown": STILL_SHOWN, "picture": names[:2]},
    )


def _grey(levels_of: Tensor, levels: int) -> np.ndarray:
    """Levels, whole or not, as (size, size, 3) bytes."""
    grey = (levels_of.double() * 255 / (levels - 1)).round().to(torch.uint8).numpy()
    return np.repeat(grey[:, :, None], 3, axis=2)


def _sheet(panels: list[np.ndarray]) -> np.ndarray:
    """Four panels two by two on white, enlarged."""
    big = [np.kron(panel, np.ones((ZOOM, ZOOM, 1), dtype=np.uint8)) for panel in panels]
    side = len(big[0])
    sheet = np.full((2 * side + GAP, 2 * side + GAP, 3), 255, dtype=np.uint8)
    for k, panel in enumerate(big):
        top, left = k // 2 * (side + GAP), k % 2 * (side + GAP)
        sheet[top:top + side, left:left + side] = panel
    return sheet
