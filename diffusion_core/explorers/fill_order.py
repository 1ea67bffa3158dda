"""The fill-order explorer: a picture is shown pixel by pixel, in an order, and a masked network says what it expects of the rest."""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ..pixels import PixelNet, hide, stages
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures

ORDERS = {"raster": "row by row", "any": "random", "coarse": "coarse to fine"}
SHOWN = (0, 4, 16, 32, 49, 98, 147, 182)
STILL_SHOWN = (0, 16, 49, 98, 147)
HIDDEN = (86, 180, 233)  # the palette's sky blue: no grey level
LIGHT, DARK = (255, 255, 255), (213, 94, 0)  # no doubt .. the doubt of K equally likely levels
TITLES = ("shown", "expected", "doubt", "drawn at once")


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


def fill_order_explorer(net: PixelNet, pictures: Tensor, names: list[str], *, seed: int = 0, shipped: str | None = None) -> Explorer:
    """Pictures of levels (N, size, size), called `names`, revealed in three orders to a network for any order.

    Four panels: what is shown (the rest in blue); the mean of what the network expects; its doubt, from white to orange at log2 K bits; and all hidden
    pixels drawn at once, each by itself, always with the same random numbers. shipped names the network's weights, for pages (None: a page shows frames
    computed beforehand). Raises ValueError for a network in a fixed order and for other shapes.
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
        seen = np.repeat(_grey(x, levels)[:, :, None], 3, axis=2)
        seen[hidden.numpy()] = HIDDEN
        share = (doubt / math.log2(levels)).clamp(0, 1).numpy()[:, :, None]
        doubtful = ((1 - share) * np.array(LIGHT) + share * np.array(DARK)).round().astype(np.uint8)
        panels = [Pictures(pixels, title) for pixels, title in zip((seen, _grey(mean, levels), doubtful, _grey(drawn, levels)), TITLES, strict=True)]
        paid = -p.gather(0, x[None])[0].log()[hidden].mean() / math.log(2)
        text = f"{ORDERS[order]}, {shown} of {size**2} pixels shown. Of a hidden pixel the network is {float(doubt[hidden].mean()):.2f} bits in doubt on average; "
        yield Frame([panels[:2], panels[2:]], f"{text}the true levels, all predicted at once, cost {float(paid):.2f} bits a pixel.")

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
        engine=shipped and Engine(
            "fill_order", {"orders": ORDERS, "names": names, "size": size, "levels": levels, "seed": seed, "hidden": HIDDEN, "light": LIGHT, "dark": DARK,
                           "titles": TITLES, "network": shipped},
            {"pictures": pictures.numpy().astype(np.uint8), "places": torch.stack([*rank.values()]).numpy().astype(np.int32)}, (shipped,)),
        stills={"shown": STILL_SHOWN, "picture": names[:2]},
    )


def _grey(levels_of: Tensor, levels: int) -> np.ndarray:
    """Levels, whole or not, as bytes (size, size)."""
    return (levels_of.double() * 255 / (levels - 1)).round().to(torch.uint8).numpy()
