"""The guidance explorer: how hard to lean on the class, on the real network, live."""

from collections.abc import Iterator, Sequence

import torch

from ..denoisers import Denoiser, NetworkDenoiser
from ..guidance import distilled, guided
from ..samplers import ddim
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures
from .pictures import tile
from .refine import STEPS, refined

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)  # what the shipped student has learned
STILL_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0)
COLUMNS = 3
MIXED = -1  # the class control's value for "all classes, one after the other"
WHO = {"student": "distilled: one evaluation a step", "teacher": "undistilled: two, slower"}


def strength_explorer(
    teacher: Denoiser,
    student: NetworkDenoiser,
    class_names: Sequence[str],
    shape: tuple[int, int, int] = (1, 28, 28),
    *,
    pictures: int = 9,
    still_label: int = 0,
    seed: int = 0,
    shipped: tuple[str, str] | None = None,
) -> Explorer:
    """Pictures of `shape` (C, H, W) by DDIM from one noise with guidance weight w, for one or all classes.

    A preview of 4 steps comes first, then 20 steps refine it. Each step is one evaluation of the student, which was distilled to take w as
    an input, or one batched evaluation of the teacher's conditional and unconditional predictions. class_names has one name for each
    of their labels 0, 1, ...; shipped names both networks' weights, teacher first, for pages (None: a page shows frames computed beforehand).
    """
    x_T = torch.randn(pictures, *shape, generator=torch.Generator().manual_seed(seed))

    @torch.inference_mode()
    def draw(w: float, label: int, who: str) -> Iterator[Frame | None]:
        cond = torch.arange(pictures) % len(class_names) if label == MIXED else torch.full((pictures,), label)
        what = "all classes" if label == MIXED else class_names[label]
        leaning = distilled(student, w) if who == "student" else guided(teacher, w)
        yield from refined(lambda n: ddim(leaning, x_T, teacher.schedule, steps=n, cond=cond), lambda x: Pictures(tile(x, COLUMNS)), f"{what}, w = {w:g}",
                           f"{what}, w = {w:g} (scale 1 + w = {1 + w:g}), {STEPS} steps")

    labels = [MIXED, *range(len(class_names))]
    return Explorer(
        draw,
        [
            Control("w", "guidance weight w", WEIGHTS, [f"{w:g}" for w in WEIGHTS], start=WEIGHTS.index(1.0)),
            Control("label", "class", labels, ["all classes", *class_names]),
            Control("who", "network", list(WHO), list(WHO.values())),
        ],
        title="Guidance strength",
        alt=f"{pictures} pictures sampled from the same noise. As w grows they become clearer and more "
        "typical of their class, and more alike.",
        engine=shipped and Engine("strength", {"classes": list(class_names), "pictures": pictures, "columns": COLUMNS, "seed": seed, "mixed": MIXED,
                                               "networks": dict(zip(("teacher", "student"), shipped, strict=True))}, networks=shipped),
        stills={"w": STILL_WEIGHTS, "label": [MIXED, still_label]},
    )
