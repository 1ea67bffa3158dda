"""The interval explorer: how hard to guide, and at which times, on the real network, live."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from ..denoisers import Denoiser
from ..guidance import interval_guided
from ..samplers import ddim
from ..schedules import timesteps
from .explorer import Explorer
from .figure import Control, Engine, Frame, Pictures
from .pictures import WHITE, tile
from .refine import STEPS, refined

WEIGHTS = (0.0, 0.25, 1.0, 2.0, 4.0, 8.0)
LOWS = (1, 200, 300, 400, 600)
HIGHS = (1000, 900, 800, 700, 500)
STILL_WEIGHTS, STILL_LOWS, STILL_HIGHS = (1.0, 4.0), (1, 300), (1000, 700)
COLUMNS = 4
STRIP = 8  # height in pixels of the strip that shows which steps are guided
GUIDED, ALONE = 0, 190


def interval_explorer(denoiser: Denoiser, class_names: Sequence[str], shape: tuple[int, int, int] = (1, 28, 28), *, pictures: int = 12,
                      seed: int = 0, shipped: str | None = None) -> Explorer:
    """Pictures of `shape` (C, H, W) by DDIM from one noise, guided with weight w at low <= t <= high only, classes one after the other.

    A preview of 4 steps comes first, then 20 steps refine it. The strip below has one field a step, the noisiest on the left: black where it
    is guided. low > high is an empty interval, the conditional model. denoiser is the unguided one, of T = 1000; class_names has one
    name for each of its labels 0, 1, ..; shipped names its weights, for pages (None: a page shows frames computed beforehand). Raises
    ValueError for another T.
    """
    if len(denoiser.schedule) != max(HIGHS):
        raise ValueError(f"the explorer's times are those of T = {max(HIGHS)}, got a schedule of {len(denoiser.schedule)}")
    x_T = torch.randn(pictures, *shape, generator=torch.Generator().manual_seed(seed))
    cond = torch.arange(pictures) % len(class_names)

    @torch.inference_mode()
    def draw(w: float, low: int, high: int) -> Iterator[Frame | None]:
        leaning = interval_guided(denoiser, w, low, high)
        inside = guided_steps(len(denoiser.schedule), w, low, high)
        where = f"w = {w:g}, t from {low} to {high}" if low <= high else "empty interval: no guidance"
        yield from refined(lambda n: ddim(leaning, x_T, denoiser.schedule, steps=n, cond=cond),
                           lambda x: Pictures(with_strip(tile(x, COLUMNS), inside)), where, f"{where}: {sum(inside)} of {STEPS} steps guided")

    return Explorer(
        draw,
        [Control("w", "guidance weight w", WEIGHTS, [f"{w:g}" for w in WEIGHTS], start=WEIGHTS.index(1.0)),
         Control("low", "guide from t =", LOWS, start=LOWS.index(300)), Control("high", "up to t =", HIGHS, start=HIGHS.index(700))],
        title="Strength and interval",
        alt=f"{pictures} pictures sampled from the same noise, and a strip with a field a step that is black where the step was guided. Guidance at "
        "all times makes contrasts harsh; in the middle alone, classes become clear and contrasts stay.",
        engine=shipped and Engine("interval", {"classes": len(class_names), "pictures": pictures, "columns": COLUMNS, "seed": seed, "network": shipped,
                                               "strip": STRIP, "guided": GUIDED, "alone": ALONE},
                                  networks=[shipped]),
        stills={"w": STILL_WEIGHTS, "low": STILL_LOWS, "high": STILL_HIGHS},
    )


def guided_steps(T: int, w: float, low: int, high: int, steps: int = STEPS) -> list[bool]:
    """Which of the steps of the trailing grid, noisiest first, ask for the null condition as well."""
    return [w != 0 and low <= t <= high for t, _ in timesteps(T, steps)]


def with_strip(sheet: np.ndarray, inside: Sequence[bool]) -> np.ndarray:
    """The picture (H, W) or (H, W, 3) with a strip below: one field a step, black where it is guided."""
    width = sheet.shape[1]
    strip = np.full((STRIP + 2, width, *sheet.shape[2:]), WHITE, np.uint8)
    edges = [k * width // len(inside) for k in range(len(inside) + 1)]
    for left, right, guided in zip(edges[:-1], edges[1:], inside, strict=True):
        strip[2:, left : right - 1] = GUIDED if guided else ALONE
    return np.concatenate([sheet, strip])
