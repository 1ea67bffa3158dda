"""The DDIM explorer: how many steps, and how much fresh noise in each."""

from collections.abc import Iterator

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..samplers import ddim
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures
from .pictures import tile

STEPS = (2, 4, 8, 12, 20, 50)
ETAS = (0.0, 0.2, 0.5, 1.0)
STILL_STEPS = (2, 4, 8, 20)


def steps_eta_explorer(
    denoiser: Denoiser, labels: Tensor, shape: tuple[int, int, int] = (1, 28, 28), *, seed: int = 0, shipped: str | None = None
) -> Explorer:
    """One picture of `shape` (C, H, W) for each of labels (N,) by DDIM with a number of steps and an eta.

    Moving either slider keeps x_T and, for eta > 0, the seed of the fresh noise, so that a change comes from
    the sampler alone. shipped names the denoiser's weights, for pages (None: a page shows frames computed beforehand).
    """
    x_T = torch.randn(len(labels), *shape, generator=torch.Generator().manual_seed(seed))
    columns = 5 if len(labels) % 5 == 0 else 4

    @torch.inference_mode()
    def draw(steps: int, eta: float) -> Iterator[Frame]:
        generator = torch.Generator().manual_seed(seed + 1)
        path = ddim(denoiser, x_T, denoiser.schedule, steps=steps, eta=eta, cond=labels, generator=generator)
        where = f"{steps} steps, eta = {eta:g}"
        for k, step in enumerate(path, 1):
            if k < steps:
                yield Frame(Pictures(tile(step.x0, columns)), f"{where}: x0-hat after {k} network evaluations")
        yield Frame(Pictures(tile(step.x, columns)), f"{where}: {steps} network evaluations a picture")

    return Explorer(
        draw,
        [
            Control("steps", "steps", STEPS, start=STEPS.index(8)),
            Control("eta", "eta", ETAS, [f"{eta:g}" for eta in ETAS]),
        ],
        title="Steps and eta",
        alt=f"{len(labels)} pictures sampled from the same noise; they change with the steps and with eta.",
        engine=shipped and Engine("steps_eta", {"seed": seed, "columns": columns, "network": shipped}, {"labels": labels.int().numpy()}, [shipped]),
        stills={"steps": STILL_STEPS},
    )
