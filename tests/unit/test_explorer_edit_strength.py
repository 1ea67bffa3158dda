"""The editing explorer on a toy denoiser: the whole grid, counts of evaluations, and what its captions claim."""

import re

import pytest
import torch
from explorer_toys import SHAPE, Counting

from diffusion_core.explorers.edit_strength import METHODS, STRENGTHS, edit_strength_explorer
from diffusion_core.explorers.refine import PREVIEW_STEPS, STEPS

X = torch.linspace(-1, 1, 3 * 64).reshape(3, *SHAPE)
NAMES = ["a", "b", "c"]


def explorer(up=None, down=None, judge=lambda x: torch.zeros(len(x)).long(), **options):
    return edit_strength_explorer(up or Counting(), down or Counting(), X, torch.tensor([0, 1, 2]), NAMES, judge, targets=[1, 2], **options)


def test_every_point_of_the_grid_draws():
    figure = explorer()
    frames = figure.sweep()
    assert len(frames) == len(figure.points) == len(STRENGTHS) * len(METHODS) * 2
    assert len({frame.pixels.tobytes() for frame in frames}) > len(frames) // 2
    assert frames[0].pixels.shape == (2 * 8 + 2, 3 * 8 + 2 * 2)


def test_a_preview_comes_first_and_inversion_costs_as_much_as_the_way_back():
    for method, ups in (("inversion", PREVIEW_STEPS + STEPS), ("fresh noise", 0)):
        up, down = Counting(), Counting()
        frames = [f for f in explorer(up, down).frames(method=method) if f is not None]
        assert ["preview" in frame.caption for frame in frames] == [True, False]
        assert up.rows == [3] * ups and down.rows == [3] * (PREVIEW_STEPS + STEPS)


def test_the_preview_needs_its_own_steps_only():
    up, down = Counting(), Counting()
    next(f for f in explorer(up, down).frames(method="inversion") if f is not None)
    assert len(up.rows) == len(down.rows) == PREVIEW_STEPS


def test_same_parameters_give_the_same_frame_whatever_was_drawn_before():
    one, other = explorer(), explorer()
    point = {"strength": 0.5, "method": "fresh noise", "target": 2}
    before = one.final(**point)
    one.sweep(one.points[:3])
    assert one.final(**point).png() == before.png() == other.final(**point).png()
    assert explorer(seed=1).final(**point).png() != before.png()


def test_the_caption_counts_and_measures():
    """The upper row is the pictures; the change that is named is the one that is seen, up to the rounding to grey levels."""
    frame = explorer(judge=lambda x: torch.tensor([1, 2, 1])).final(strength=0.6, method="inversion", target=1)
    assert "to t0 = 600, back as b" in frame.caption and "2 of 3 taken" in frame.caption
    above, below = torch.from_numpy(frame.pixels[:8]).double(), torch.from_numpy(frame.pixels[10:]).double()
    assert torch.equal(above[:, :8].round(), X[0, 0].add(1).mul(127.5).round().double())
    keep = torch.ones(28, dtype=torch.bool)
    keep[[8, 9, 18, 19]] = False
    seen = ((above - below)[:, keep] / 255).square().mean().sqrt()
    assert abs(float(re.search(r"moved by ([\d.]+)", frame.caption)[1]) - seen) < 0.01


def test_labels_must_fit_the_pictures():
    with pytest.raises(ValueError, match="one entry for each of the 3"):
        edit_strength_explorer(Counting(), Counting(), X, torch.tensor([0, 1]), NAMES, torch.argmax, targets=[1])
