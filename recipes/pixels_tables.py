"""Measure the shipped pixel models: weights/pixels_tables.json, read by section 2.3.

The any-order network in several orders and with fewer and fewer calls, and the coarse-to-fine network scale by scale, on 500 of the bundled
test pictures. All figures are exact log-probabilities of the model that the network is in that order, in bits a dimension: [mean, standard
error]. Differences to the first row are taken picture by picture, so their errors are far smaller than those of the figures. Minutes on one core.
"""

import json
import math

import torch
from torch import Tensor

from diffusion_core import zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.pixels import PixelNet, log_prob, log_probs, quantise, stages
from diffusion_core.plots import progress

PICTURES, BATCH, SIZE = 500, 100, 14
CALLS = (1, 2, 4, 7, 14, 28, 49, 98, 196)


def one_by_one(stage: Tensor) -> Tensor:
    """The order with the pixels of a stage one after the other, row by row."""
    return stage.flatten().argsort(stable=True).argsort().reshape(stage.shape)


def shuffled(n: int, calls: int) -> Tensor:
    """A random order for each of n pictures (the same each time), cut into `calls` stages of equal size."""
    generator = torch.Generator().manual_seed(0)
    places = torch.stack([stages("any", SIZE, generator) for _ in range(n)])
    return places // (SIZE**2 // calls)


def bits(net: PixelNet, x: Tensor, stage: Tensor, what: str) -> Tensor:
    """Bits a dimension of every picture in this order, (N,), float64; stage (size, size) or one a picture."""
    orders = stage.expand(len(x), -1, -1)
    parts = [log_prob(net, a, b) for a, b in zip(progress(x.split(BATCH), what), orders.split(BATCH), strict=True)]
    return -torch.cat(parts).double() / (SIZE**2 * math.log(2))


def said(values: Tensor) -> list[float]:
    """[mean, standard error] over pictures."""
    return [round(float(values.mean()), 4), round(float(values.std() / len(values) ** 0.5), 4)]


def by_scale(net: PixelNet, x: Tensor) -> list[dict]:
    """Of the coarse-to-fine network: how many pixels and calls each scale takes, and what a pixel of it costs."""
    stage, rows = stages("coarse", SIZE), []
    for name, first, last in (("every fourth", 0, 16), ("every second", 16, 19), ("all", 19, 22)):
        cost = torch.cat([sum((log_probs(net, part, stage >= s) * (stage == s)).flatten(1).sum(1) for s in range(first, last)) for part in x.split(BATCH)])
        pixels = int(((stage >= first) & (stage < last)).sum())
        rows.append({"scale": name, "pixels": pixels, "calls": last - first, "bits_a_pixel": said(-cost.double() / (pixels * math.log(2)))})
    return rows


if __name__ == "__main__":
    with torch.no_grad():
        x = quantise(to_pictures(fashion_mnist("test")[0][:PICTURES]))
        net, raster, coarse = (zoo.load_pixels(f"pixels_{name}") for name in ("any", "raster", "coarse"))
        orders = {"raster": stages("raster", SIZE), "coarse, one by one": one_by_one(stages("coarse", SIZE)), "coarse, 22 calls": stages("coarse", SIZE)}
        found = {name: bits(net, x, stage, name) for name, stage in orders.items()}
        calls = {n: bits(net, x, shuffled(len(x), n), f"{n} calls") for n in CALLS}
        found = {"random": calls[196], **found}
        own = {"raster": bits(raster, x, stages("raster", SIZE), "own raster"),
               "coarse": bits(coarse, x, stages("coarse", SIZE), "own coarse")}
        table = {"pictures": PICTURES,
                 "orders": {name: {"bits": said(value), "above_random": said(value - calls[196])} for name, value in found.items()},
                 "calls": {str(n): {"bits": said(value), "above_random": said(value - calls[196])} for n, value in calls.items()},
                 "own": {name: {"bits": said(value), "above_random": said(value - calls[196])} for name, value in own.items()},
                 "scales": by_scale(coarse, x)}
    (zoo.FOLDER / "pixels_tables.json").write_text(json.dumps(table, indent=1) + "\n", "utf8")
