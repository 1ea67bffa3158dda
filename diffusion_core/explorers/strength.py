"""The guidance explorer: how hard to lean on the class, on the real network, live."""

from collections.abc import Iterator, Sequence

import torch

from ..denoisers import Denoiser
from ..guidance import guided
from ..samplers import ddim
from .explorer import Control, Explorer, Frame
from .pictures import tile

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
STILL_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
PREVIEW_STEPS, STEPS = 4, 20
MIXED = -1  # the class control's value for "all classes, one after the other"


def strength_explorer(denoiser: Denoiser, class_names: Sequence[str], shape: tuple[int, int, int] = (1, 28, 28), *,
                      pictures: int = 16, seed: int = 0) -> Explorer:
    """Pictures of `shape` (C, H, W) drawn by DDIM from the same noise with guidance weight w, for one class or all mixed.

    A preview of 4 steps comes first, then 20 steps refine it; each step is one batched evaluation of conditional and unconditional
    prediction. denoiser is the unguided one; class_names has one name for each of its labels 0, 1, ...
    """
    x_T = torch.randn(pictures, *shape, generator=torch.Generator().manual_seed(seed))
    columns = -(-pictures // 2) if pictures <= 6 else 4

    @torch.inference_mode()
    def draw(w: float, label: int) -> Iterator[Frame | None]:
        cond = torch.arange(pictures) % len(class_names) if label == MIXED else torch.full((pictures,), label)
        what = "all classes" if label == MIXED else class_names[label]
        leaning = guided(denoiser, w)
        preview = None
        for k, step in enumerate(ddim(leaning, x_T, denoiser.schedule, steps=PREVIEW_STEPS, cond=cond), 1):
            preview = tile(step.x, columns) if k == PREVIEW_STEPS else None
            yield preview if preview is None else Frame(preview, f"{what}, w = {w:g}: preview in {PREVIEW_STEPS} steps")
        for k, step in enumerate(ddim(leaning, x_T, denoiser.schedule, steps=STEPS, cond=cond), 1):
            if k < STEPS:
                yield Frame(preview, f"{what}, w = {w:g}: preview, refining {k} / {STEPS}")
        yield Frame(tile(step.x, columns), f"{what}, w = {w:g} (scale 1 + w = {1 + w:g}), {STEPS} steps")

    labels = [MIXED, *range(len(class_names))]
    return Explorer(
        draw,
        [Control("w", "guidance weight w", WEIGHTS, [f"{w:g}" for w in WEIGHTS], start=WEIGHTS.index(1.0)),
         Control("label", "class", labels, ["all classes", *class_names])],
        title="Guidance strength",
        alt=f"{pictures} pictures sampled from the same noise. As w grows they become cleaner and more typical of their class, and "
            "more alike; at large w contrast is exaggerated.",
        stills={"w": STILL_WEIGHTS, "label": [MIXED, 0]})
