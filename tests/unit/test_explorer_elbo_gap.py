"""The ELBO explorer: swept over its grid, and its numbers against a model whose posterior is known in closed form."""

import json
import math
import re

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core.explorers.elbo_gap import (
    LEVELS,
    MEANS,
    STILL_MEANS,
    STILL_WIDTHS,
    WIDTHS,
    Z,
    elbo_gap_explorer,
    gap_map,
    gaussian_elbo,
    log_evidence,
)

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


def test_the_map_holds_the_gaps_of_its_pixels():
    """Widest q in the first row, lowest mean in the first column; closed-form gaps at the pixels' middles."""
    gap, explorer = gap_map(line(Z)), elbo_gap_explorer(line)
    H, W = gap.shape
    means = torch.tensor([-2.2 + 4.4 * (k + 0.5) / W for k in range(W)]).double()
    widths = torch.tensor([0.08 * (1.9 / 0.08) ** (1 - (k + 0.5) / H) for k in range(H)]).double()
    assert torch.allclose(gap, kl_divergence(Normal(means, widths[:, None]), POSTERIOR), rtol=1e-5, atol=1e-4)
    _, below, key = explorer.final().panels
    assert below.image.pixels.shape == (H, W, 3) and below.xlim == (-2.2, 2.2) and below.ylim == (0.08, 1.9) and below.yscale == "log"
    brightness = key.image.pixels[0].astype(int).sum(-1)  # cividis: from dark blue to yellow, one colour to a band
    assert (np.diff(brightness) >= 0).all() and len(np.unique(brightness)) == len(LEVELS) + 1
    # each pixel has the colour that the key gives its gap
    places = np.log(gap.numpy().clip(*key.xlim) / key.xlim[0]) / math.log(key.xlim[1] / key.xlim[0]) * (key.image.pixels.shape[1] - 1)
    inside = np.abs(np.log(gap.numpy()[..., None] / np.array(LEVELS))).min(-1) > 0.03  # away from borders between bands
    assert inside.mean() > 0.8
    assert np.array_equal(key.image.pixels[0][places.round().astype(int)][inside], below.image.pixels[inside])


def test_lines_run_where_the_gap_is_one_of_the_levels():
    *lines, _ = elbo_gap_explorer(square).final().panels[1].series
    assert len(lines) >= 8
    reached = set()
    for series in lines:
        gap = log_evidence(square(Z)) - gaussian_elbo(square(Z), torch.from_numpy(series.x).double(), torch.from_numpy(series.y).double())
        level = min(LEVELS, key=lambda level: abs(math.log(level / gap[0])))
        reached.add(level)
        assert torch.allclose(gap, torch.full_like(gap, level), rtol=0.03), level
    assert reached == {level for level in LEVELS if level > 0.75}


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    explorer = elbo_gap_explorer(square)
    frames = explorer.sweep()
    assert len(frames) == len(MEANS) * len(WIDTHS) == 136
    for point, frame in zip(explorer.points, frames, strict=True):
        mean, width, elbo, log_p, gap = said(frame)
        assert (mean, width) == (point["mean"], point["width"])
        assert gap > 0 and log_p - elbo == pytest.approx(gap, abs=0.011)
        posterior, q = frame.panels[0].series
        assert np.allclose(q.y, Normal(mean, width).log_prob(torch.from_numpy(q.x)).exp(), atol=1e-5)
        exact = (square(torch.from_numpy(q.x).double()) - log_p).exp()
        assert np.array_equal(posterior.x, q.x) and np.allclose(posterior.y, exact, rtol=0.01, atol=1e-9)
        dot = frame.panels[1].series[-1]
        assert dot.style == "o" and dot.x == pytest.approx([mean]) and dot.y == pytest.approx([width])
    gaps = {tuple(point.values()): said(frame)[-1] for point, frame in zip(explorer.points, frames, strict=True)}
    assert all(gaps[mean, width] == gaps[-mean, width] for mean, width in gaps)  # this posterior is even
    assert abs(min(gaps, key=gaps.get)[0]) in (1.0, 1.25) and math.log(2) < min(gaps.values()) < 0.9 < gaps[0.0, 0.7]


def test_stills_are_few_and_the_start_is_the_prior(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    explorer = elbo_gap_explorer(square)
    assert len(explorer.stills) == len(STILL_MEANS) * len(STILL_WIDTHS) == 6 and len(json.dumps(explorer.stills)) < 300_000
    assert "mean 0, width 1:" in explorer.final().caption


@pytest.mark.parametrize("wrong", [lambda z: z[:, None], lambda z: torch.log(z)])
def test_a_wrong_log_joint_is_refused(wrong):
    with pytest.raises(ValueError, match="finite log p"):
        elbo_gap_explorer(wrong)
