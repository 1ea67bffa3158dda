"""The editing explorer: how far back towards noise a picture is taken, and whether its own noise or fresh noise leads it there."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..denoisers import Denoiser
from ..editing import invert, sdedit
from ..guidance import guided
from ..samplers import ddim
from ..schedules import timesteps
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures
from .pictures import tile
from .refine import PREVIEW_STEPS, STEPS

STRENGTHS = tuple(k / 10 for k in range(1, 11))  # t0 / T
STILL_STRENGTHS = (0.3, 0.5, 0.7, 0.9)
METHODS = ("inversion", "fresh noise")
TITLES = ("pictures", "edited")


def edit_strength_explorer(
    denoiser: Denoiser,
    pictures: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    judge: Callable[[Tensor], Tensor],
    *,
    w: float,
    targets: Sequence[int],
    seed: int = 0,
    shipped: tuple[str, str] | None = None,
) -> Explorer:
    """pictures (N, C, H, W) above what becomes of them when they are taken to t0 and come back under another label.

    The way to t0 is inversion with the picture's own label (N,), or one draw of noise (SDEdit); the way back is DDIM guided by weight w towards the
    wanted label, one of targets. A preview of 4 steps each way comes first, then 20 steps refine it. judge(x) gives the class (N,) each edit is taken
    for. shipped names the weights of denoiser and judge, for pages (None: a page shows frames computed beforehand). Raises ValueError for another
    number of labels or no picture.
    """
    if len(pictures) == 0 or labels.shape != (len(pictures),):
        raise ValueError(f"labels must have one entry for each of the {len(pictures)} pictures, got shape {tuple(labels.shape)}")
    schedule, editor = denoiser.schedule, guided(denoiser, w)

    def edit(t0: int, method: str, target: int, steps: int) -> Iterator[Tensor | None]:
        grid, wanted = timesteps(t0, min(steps, t0)), torch.full_like(labels, target)
        if method == "inversion":
            for up in invert(denoiser, pictures, schedule, steps=grid, cond=labels):
                yield None
            back = ddim(editor, up.x, schedule, steps=grid, cond=wanted)
        else:
            generator = torch.Generator().manual_seed(seed)
            back = sdedit(editor, pictures, schedule, steps=grid, eta=0.0, cond=wanted, generator=generator)
        for step in back:
            yield step.x if step.s == 0 else None

    @torch.inference_mode()
    def draw(strength: float, method: str, target: int) -> Iterator[Frame | None]:
        t0 = round(strength * len(schedule))
        for steps in (PREVIEW_STEPS, STEPS):
            for edited in edit(t0, method, target, steps):
                if edited is None:
                    yield None
                    continue
                taken = int((judge(edited) == target).sum())
                moved = float(((edited - pictures) / 2).square().mean().sqrt())
                made = "preview" if steps == PREVIEW_STEPS else f"{steps} steps"
                yield Frame(
                    [[Pictures(tile(x, len(x)), title)] for x, title in zip((pictures, edited), TITLES, strict=True)],
                    f"{method} to t0 = {t0}, back as {class_names[target]}, {made}: {taken} of {len(pictures)} taken for one; "
                    f"pixels moved by {moved:.2f} of the range",
                )

    return Explorer(
        draw,
        [
            Control("strength", "strength t0 / T", STRENGTHS, [f"{k:g}" for k in STRENGTHS], start=STRENGTHS.index(0.7)),
            Control("method", "way to t0", METHODS),
            Control("target", "wanted class", list(targets), [class_names[k] for k in targets]),
        ],
        title="Edit strength",
        alt=f"{len(pictures)} pictures above their edits. At low strength an edit is the picture itself, at high strength a picture of the wanted "
        "class that has little to do with it; in between it is both, with inversion longer like the picture than with fresh noise.",
        engine=shipped and Engine("edit_strength", {"classes": list(class_names), "w": w, "seed": seed, "titles": TITLES,
                                                    "networks": dict(zip(("denoiser", "judge"), shipped, strict=True))},
                                  {"pictures": pictures.numpy(), "labels": labels.int().numpy()}, shipped),
        stills={"strength": STILL_STRENGTHS},
    )
