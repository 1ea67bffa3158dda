"""The ELBO explorer: swept over its grid, and its numbers against a model whose posterior is known in closed form."""

import math
import re

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core.explorers.elbo_gap import MEANS, STILL_MEANS, STILL_WIDTHS, WIDTHS, Z, elbo_gap_explorer, gaussian_elbo, log_evidence

X, NOISE = 0.9, 0.6  # one measurement x = z + NOISE eps of z ~ N(0, 1)
POSTERIOR = Normal(torch.tensor(X / (1 + NOISE**2)).double(), torch.tensor(NOISE / math.sqrt(1 + NOISE**2)).double())
LOG_P = -0.5 * (X**2 / (1 + NOISE**2) + math.log(2 * math.pi * (1 + NOISE**2)))


def line(z):
    return -0.5 * (z**2 + ((X - z) / NOISE) ** 2) - math.log(2 * math.pi * NOISE)


def square(z):
    return -0.5 * (z**2 + ((1.5 - z**2) / 0.5) ** 2) - math.log(2 * math.pi * 0.5)


def said(frame):
    """mean, width, ELBO, log p(x) and gap as the caption gives them."""
    return [float(number) for number in re.findall(r"-?\d+\.?\d*", frame.caption)]


def test_evidence_and_gap_are_those_of_the_closed_form():
    assert log_evidence(line(Z)) == pytest.approx(LOG_P, abs=1e-10)
    mean, width = torch.meshgrid(torch.tensor(MEANS).double(), torch.tensor(WIDTHS).double(), indexing="ij")
    gap = log_evidence(line(Z)) - gaussian_elbo(line(Z), mean, width)
    assert torch.allclose(gap, kl_divergence(Normal(mean, width), POSTERIOR), atol=1e-9)


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    explorer = elbo_gap_explorer(square)
    frames = explorer.sweep()
    assert len(frames) == len(MEANS) * len(WIDTHS) == 136
    for point, frame in zip(explorer.points, frames, strict=True):
        mean, width, elbo, log_p, gap = said(frame)
        assert (mean, width) == (point["mean"], point["width"])
        assert gap > 0 and log_p - elbo == pytest.approx(gap, abs=0.011)
    assert len({frame.pixels.tobytes() for frame in frames}) == len(frames)  # every move of a slider shows
    gaps = {tuple(point.values()): said(frame)[-1] for point, frame in zip(explorer.points, frames, strict=True)}
    assert all(gaps[mean, width] == gaps[-mean, width] for mean, width in gaps)  # this posterior is even
    assert abs(min(gaps, key=gaps.get)[0]) in (1.0, 1.25) and math.log(2) < min(gaps.values()) < 0.9 < gaps[0.0, 0.7]


def test_stills_are_few_and_the_start_is_the_prior(monkeypatch):
    explorer = elbo_gap_explorer(square)
    assert len(explorer.still_points) == len(STILL_MEANS) * len(STILL_WIDTHS) == 28
    assert "mean 0, width 1:" in explorer.final().caption
    assert max(len(explorer.final(**point).png(store=True)) for point in explorer.still_points[:3]) < 40_000


def test_the_same_point_gives_the_same_picture_whatever_was_drawn_before():
    explorer = elbo_gap_explorer(square)
    first = explorer.final(mean=1.0, width=0.3).pixels
    explorer.final(mean=-2.0, width=0.1)
    assert np.array_equal(first, explorer.final(mean=1.0, width=0.3).pixels)


@pytest.mark.parametrize("wrong", [lambda z: z[:, None], lambda z: torch.log(z)])
def test_a_wrong_log_joint_is_refused(wrong):
    with pytest.raises(ValueError, match="finite log p"):
        elbo_gap_explorer(wrong)
