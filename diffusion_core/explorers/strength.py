"""The guidance explorer: how hard to lean on the class, on the real network, live."""

from collections.abc import Iterator, Sequence

import torch

from ..denoisers import Denoiser
from ..guidance import guided
from ..samplers import ddim
from .explorer import Explorer
from .figure import Control, Frame
from .pictures import tile
from .refine import STEPS, refined

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
STILL_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
COLUMNS = 4
MIXED = -1  # the class control's value for "all classes, one after the other"


def strength_explorer(
    denoiser: Denoiser,
    class_names: Sequence[str],
    shape: tuple[int, int, int] = (1, 28, 28),
    *,
    pictures: int = 16,
    still_label: int = 0,
    seed: int = 0,
) -> Explorer:
    """Pictures of `shape` (C, H, W) by DDIM from one noise with guidance weight w, for one or all classes.

    A preview of 4 steps comes first, then 20 steps refine it; each step is one batched evaluation of
    conditional and unconditional prediction. denoiser is the unguided one; class_names has one name for each
    of its labels 0, 1, ...; the page shows all classes mixed and still_label alone.
    """
    x_T = torch.randn(pictures, *shape, generator=torch.Generator().manual_seed(seed))

    @torch.inference_mode()
    def draw(w: float, label: int) -> Iterator[Frame | None]:
        cond = torch.arange(pictures) % len(class_names) if label == MIXED else torch.full((pictures,), label)
        what = "all classes" if label == MIXED else class_names[label]
        leaning = guided(denoiser, w)
        yield from refined(lambda n: ddim(leaning, x_T, denoiser.schedule, steps=n, cond=cond), lambda x: tile(x, COLUMNS), f"{what}, w = {w:g}",
                           f"{what}, w = {w:g} (scale 1 + w = {1 + w:g}), {STEPS} steps")

    labels = [MIXED, *range(len(class_names))]
    return Explorer(
        draw,
        [
            Control("w", "guidance weight w", WEIGHTS, [f"{w:g}" for w in WEIGHTS], start=WEIGHTS.index(1.0)),
            Control("label", "class", labels, ["all classes", *class_names]),
        ],
        title="Guidance strength",
        alt=f"{pictures} pictures sampled from the same noise. As w grows they become clearer and more "
        "typical of their class, and more alike.",
        stills={"w": STILL_WEIGHTS, "label": [MIXED, still_label]},
    )
