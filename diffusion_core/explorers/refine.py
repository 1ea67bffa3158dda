"""A first picture at once and the full one after it, as explorers that sample with a network have it."""

from collections.abc import Callable, Iterator

from torch import Tensor

from ..samplers import Step
from .figure import Frame, Panel

PREVIEW_STEPS, STEPS = 4, 20


def refined(run: Callable[[int], Iterator[Step]], show: Callable[[Tensor], Panel], what: str, done: str) -> Iterator[Frame | None]:
    """The frames of run(4) and then run(20), samplers of that many steps, whose states show(x) turns into a panel.

    None while there is nothing to see; the preview, captioned with what it shows, and again at every further step, so that a newer move can
    come between; at last the picture, captioned done.
    """
    for k, step in enumerate(run(PREVIEW_STEPS), 1):
        if k < PREVIEW_STEPS:
            yield None
    preview = show(step.x)
    yield Frame(preview, f"{what}: preview in {PREVIEW_STEPS} steps")
    for k, step in enumerate(run(STEPS), 1):
        if k < STEPS:
            yield Frame(preview, f"{what}: preview, refining {k} / {STEPS}")
    yield Frame(show(step.x), done)
