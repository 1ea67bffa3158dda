"""The editing explorer on a toy denoiser: the whole grid, counts of evaluations, and what its captions claim."""

import json
import re

import numpy as np
import pytest
import torch
from explorer_toys import SHAPE, Counting

from diffusion_core.explorers.edit_strength import METHODS, STRENGTHS, TITLES, edit_strength_explorer
from diffusion_core.explorers.refine import PREVIEW_STEPS, STEPS

X = torch.linspace(-1, 1, 3 * 64).reshape(3, *SHAPE)
NAMES = ["a", "b", "c"]


def explorer(denoiser=None, judge=lambda x: torch.zeros(len(x)).long(), w=1.0, **options):
    return edit_strength_explorer(denoiser or Counting(), X, torch.tensor([0, 1, 2]), NAMES, judge, w=w, targets=[1, 2], **options)


def rows(frame):
    """Grey levels of the pictures and of what they became."""
    assert [panel.title for (panel,) in frame.rows] == list(TITLES)
    return [panel.pixels.astype(int) for panel in frame.panels]


def test_every_point_of_the_grid_draws():
    figure = explorer()
    frames = figure.sweep()
    assert len(frames) == len(figure.points) == len(STRENGTHS) * len(METHODS) * 2
    assert len({rows(frame)[1].tobytes() for frame in frames}) > len(frames) // 2
    assert {row.shape for frame in frames for row in rows(frame)} == {(8, 3 * 8 + 2 * 2)}
    assert sum(len(json.dumps(figure.final(**point).stored())) for point in figure.still_points) < 300_000


def test_a_preview_comes_first_and_the_guided_way_back_asks_of_twice_the_rows():
    for method, up in (("inversion", [3]), ("fresh noise", [])):
        denoiser = Counting()
        frames = [f for f in explorer(denoiser).frames(method=method) if f is not None]
        assert ["preview" in frame.caption for frame in frames] == [True, False]
        assert denoiser.rows == [n for steps in (PREVIEW_STEPS, STEPS) for n in up * steps + [6] * steps]


def test_the_way_back_leans_by_w():
    """The toy denoiser moves by its label, so the more it is guided, the farther from the picture."""
    plain, strong = (rows(explorer(w=w).final(strength=0.7, target=2))[1] for w in (0.0, 2.0))
    assert (strong >= plain).all() and (strong - plain).mean() > 10


def test_the_preview_needs_its_own_steps_only():
    denoiser = Counting()
    next(f for f in explorer(denoiser).frames(method="inversion") if f is not None)
    assert len(denoiser.rows) == 2 * PREVIEW_STEPS


def test_same_parameters_give_the_same_frame_whatever_was_drawn_before():
    one, other = explorer(), explorer()
    point = {"strength": 0.5, "method": "fresh noise", "target": 2}
    before = one.final(**point)
    one.sweep(one.points[:3])
    assert one.final(**point).stored() == before.stored() == other.final(**point).stored()
    assert explorer(seed=1).final(**point).stored() != before.stored()


def test_the_caption_counts_and_measures():
    """The upper row is the pictures; the change that is named is the one that is seen, up to the rounding to grey levels."""
    frame = explorer(judge=lambda x: torch.tensor([1, 2, 1])).final(strength=0.6, method="inversion", target=1)
    assert "to t0 = 600, back as b" in frame.caption and "2 of 3 taken" in frame.caption
    above, below = (torch.from_numpy(row).double() for row in rows(frame))
    assert torch.equal(above[:, :8].round(), X[0, 0].add(1).mul(127.5).round().double())
    keep = torch.ones(28, dtype=torch.bool)
    keep[[8, 9, 18, 19]] = False
    seen = ((above - below)[:, keep] / 255).square().mean().sqrt()
    assert abs(float(re.search(r"moved by ([\d.]+)", frame.caption)[1]) - seen) < 0.01


def test_labels_must_fit_the_pictures():
    with pytest.raises(ValueError, match="one entry for each of the 3"):
        edit_strength_explorer(Counting(), X, torch.tensor([0, 1]), NAMES, torch.argmax, w=1.0, targets=[1])


def test_a_page_gets_an_engine_only_for_shipped_weights():
    assert explorer().browser_engine is None
    engine = explorer(w=1.5, seed=3, shipped=("net", "eye")).browser_engine
    assert engine.networks == ("net", "eye") and engine.options["networks"] == {"denoiser": "net", "judge": "eye"}
    assert (engine.options["w"], engine.options["seed"]) == (1.5, 3)
    np.testing.assert_array_equal(engine.arrays["pictures"], X)
    np.testing.assert_array_equal(engine.arrays["labels"], [0, 1, 2])
