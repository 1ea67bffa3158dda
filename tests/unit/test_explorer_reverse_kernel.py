"""The reverse-kernel explorer: its sweep, and its curves against closed forms."""

import json
import math

import pytest
import torch
from torch.distributions import Normal

from diffusion_core.explorers.reverse_kernel import (
    GRID,
    matched_gaussian,
    peaks,
    reverse_density,
    reverse_kernel_explorer,
    two_humps,
)

STEP = float(GRID[1] - GRID[0])


def normal(mean: float, variance: float) -> Normal:
    return Normal(torch.tensor(mean, dtype=torch.float64), math.sqrt(variance))


def test_the_whole_grid_can_be_drawn_and_shows_the_four_curves():
    explorer = reverse_kernel_explorer()
    frames = explorer.sweep()
    assert len(frames) == 9 * 3 * 3 == len({frame.caption for frame in frames})
    for point, frame in zip(explorer.points, frames, strict=True):
        prior, likelihood, kernel, gaussian = frame.panels[0].series
        assert [series.label for series in frame.panels[0].series] == ["p(xₛ)", "what xₜ says", "p(xₛ | xₜ)", "Gaussian"]
        for series in frame.panels[0].series:
            assert series.x[0] == pytest.approx(-2.2) and series.x[-1] == pytest.approx(2.2) and len(series.x) == 221
        heights = prior.y.max(), likelihood.y.max(), max(kernel.y.max(), gaussian.y.max())
        assert heights == pytest.approx((0.6, 0.8, 1), abs=0.01)  # the points are .02 apart
        # Bayes' rule, whatever the scales: the kernel is proportional to the product of the first two
        seen = kernel.y > 1e-3
        ratio = kernel.y[seen] / (prior.y * likelihood.y)[seen]
        assert ratio.max() / ratio.min() == pytest.approx(1, abs=1e-3), point
        # the mode of what x_t says about x_s
        assert likelihood.x[likelihood.y.argmax()] == pytest.approx(min(point["x_t"] / math.sqrt(1 - point["beta"]), 2.2), abs=0.011)
        assert ("two peaks" in frame.caption) == (peaks(torch.from_numpy(kernel.y).double()) == 2)


def test_kernel_and_gaussian_share_a_scale():
    """Normalised by one number, both keep equal areas."""
    for beta in (0.05, 0.5):
        *_, kernel, gaussian = reverse_kernel_explorer().final(beta=beta, alpha_bar=0.8).panels[0].series
        assert kernel.y.sum() == pytest.approx(gaussian.y.sum(), rel=0.02)


def test_stills_are_few_and_small(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    stills = reverse_kernel_explorer().stills
    assert len(stills) == 4 * 2 * 2 and len(json.dumps(stills)) < 300_000


def test_rounding_errors_are_not_reported_as_a_distance():
    assert "one peak; under 1e-09 nats" in reverse_kernel_explorer().final(beta=0.01, x_t=0.8, alpha_bar=0.95).caption


def test_captions_say_when_the_kernel_has_split():
    """beta* = v^2 / (v^2 + m^2 - v) at x_t = 0: .0625 at alpha_bar .8, never at .5, .0028 at .95."""
    explorer = reverse_kernel_explorer()
    for alpha_bar, threshold in ((0.5, 1.0), (0.8, 0.0625), (0.95, 0.0028)):
        for beta in (0.01, 0.05, 0.1, 0.9):
            caption = explorer.final(beta=beta, x_t=0.0, alpha_bar=alpha_bar).caption
            assert ("two peaks" if beta > threshold else "one peak") in caption, caption
    assert "one peak" in explorer.final(beta=0.1, x_t=0.4, alpha_bar=0.8).caption  # off the middle one side wins for longer


@pytest.mark.parametrize("alpha_bar", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("beta, x_t", [(0.01, 0.4), (0.2, 0.8), (0.9, 0.0)])
def test_density_is_the_closed_form_mixture(alpha_bar, beta, x_t):
    """Each hump has a Gaussian posterior, weighted by how well it explains x_t."""
    k, v = math.sqrt(1 - beta), 1 - alpha_bar
    density, weights = 0, 0
    for centre in (-math.sqrt(alpha_bar), math.sqrt(alpha_bar)):
        variance = 1 / (1 / v + k**2 / beta)
        weight = normal(k * centre, beta + k**2 * v).log_prob(torch.tensor(x_t, dtype=torch.float64)).exp()
        mean = variance * (centre / v + k * x_t / beta)
        density, weights = density + weight * normal(mean, variance).log_prob(GRID).exp(), weights + weight
    ours = reverse_density(GRID, two_humps(GRID, alpha_bar), x_t, beta)
    torch.testing.assert_close(ours, density / weights, rtol=0, atol=1e-9)
    assert float(ours.sum()) * STEP == pytest.approx(1, abs=1e-12)


def test_matched_gaussian_and_its_distance():
    bell = normal(0.3, 0.16)
    gaussian, kl = matched_gaussian(GRID, bell.log_prob(GRID).exp())
    torch.testing.assert_close(gaussian, bell.log_prob(GRID).exp(), rtol=0, atol=1e-9)
    assert kl == pytest.approx(0, abs=1e-9)
    flat = ((GRID > -1.0025) & (GRID < 1.0025)).double()  # uniform: half the log of pi e / 6
    assert matched_gaussian(GRID, flat / (flat.sum() * STEP))[1] == pytest.approx(0.5 * math.log(math.pi * math.e / 6), abs=1e-4)


def test_peaks_counts_a_plateau_once():
    assert [peaks(torch.tensor(d)) for d in ([0.0, 1, 0], [0.0, 1, 1, 0], [0.0, 2, 1, 2, 0], [1.0, 1, 1])] == [1, 1, 2, 0]


@pytest.mark.parametrize("beta", [0.0, 1.0, -0.1])
def test_wrong_betas_are_refused(beta):
    with pytest.raises(ValueError, match=f"beta must lie between 0 and 1, got {beta}"):
        reverse_density(GRID, two_humps(GRID, 0.8), 0.0, beta)


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"one shape \(N,\), got \(2001,\) and \(3,\)"):
        reverse_density(GRID, torch.ones(3), 0.0, 0.5)
