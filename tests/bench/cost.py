"""What one evaluation of the shipped network costs against batch, resolution and steps, and where the cost stops being linear."""

import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from diffusion_core import NetworkDenoiser, ddim, final, zoo

BATCHES, SIDES, STEPS = (1, 2, 4, 8, 16, 32, 64, 128), (12, 28, 56, 84, 112, 168, 224), (1, 2, 5, 10, 20, 50)
AXES = {"batch": "pictures in a batch (28 x 28)", "side": "pixels in a picture (batch of 4)", "steps": "steps (16 pictures)"}


def seconds(work: Callable[[], object], runs: int) -> float:
    """Median time of a run, after one that is not counted."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def convolution_peak(runs: int = 9) -> float:
    """The most floating-point operations a second that this machine does in a float32 convolution, over a few large shapes."""
    best = 0.0
    for channels, side in ((64, 64), (128, 32), (256, 32)):
        x, weight = torch.randn(16, channels, side, side), torch.randn(channels, channels, 3, 3)
        x, weight = x.to(memory_format=torch.channels_last), weight.to(memory_format=torch.channels_last)
        operations = 2 * 9 * channels**2 * side**2 * len(x)
        best = max(best, operations / seconds(lambda x=x, weight=weight: F.conv2d(x, weight, padding=1), runs))
    return best


def flops(denoiser: NetworkDenoiser, x: Tensor) -> int:
    """Floating-point operations of one evaluation, by torch's counter."""
    counter = FlopCounterMode(display=False)
    with counter:
        denoiser(x, 500, 0)
    return counter.get_total_flops()


@torch.no_grad()
def cost(runs: int = 5) -> dict[str, list[dict]]:
    """Seconds and operations against batch, side and number of steps, on the shipped network in torch."""
    _, denoiser, _ = zoo.load("fashion")

    def evaluation(n: int, side: int) -> dict:
        x = torch.randn(n, 1, side, side)
        return {"seconds": seconds(lambda: denoiser(x, 500, 0), runs), "flop": flops(denoiser, x)}

    def sampling(steps: int) -> dict:
        x = torch.randn(16, 1, 28, 28)
        return {"seconds": seconds(lambda: final(ddim(denoiser, x, denoiser.schedule, steps=steps, cond=0)), runs), "flop": steps * flops(denoiser, x)}

    return {"batch": [{"value": n, "pixels": n * 28**2, **evaluation(n, 28)} for n in BATCHES],
            "side": [{"value": side**2, "pixels": 4 * side**2, **evaluation(4, side)} for side in SIDES],
            "steps": [{"value": n, "pixels": 16 * 28**2 * n, **sampling(n)} for n in STEPS]}


def exponents(rows: list[dict]) -> list[float]:
    """The local slope of log seconds against log value between neighbours: 1 where the cost is linear, less where a fixed part rules."""
    return [math.log(b["seconds"] / a["seconds"]) / math.log(b["value"] / a["value"]) for a, b in zip(rows, rows[1:], strict=False)]


def plot(measured: dict[str, list[dict]], peak: float, path: Path) -> None:
    """Three panels in logarithmic scales: measured cost, a straight line of slope 1, and what the operations would take at the peak."""
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    FigureCanvasSVG(figure)
    for axis, (key, label) in zip(figure.subplots(1, 3), AXES.items(), strict=True):
        rows = measured[key]
        x, y = [row["value"] for row in rows], [1000 * row["seconds"] for row in rows]
        axis.loglog(x, y, "o-", color="#0072B2", label="measured")
        axis.loglog(x, [y[-1] * value / x[-1] for value in x], "--", color="#555555", label="in proportion")
        axis.loglog(x, [1000 * row["flop"] / peak for row in rows], ":", color="#D55E00", label="at the convolution peak")
        axis.set_xlabel(label)
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("milliseconds")
    figure.axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, metadata={"Date": None})
