"""The forward process's posterior, and the likelihood bound, in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from diffusion_core import GaussianMixture, Prediction, Schedule, q_posterior, q_sample, vlb_terms
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.gaussian import gaussian_kl, posterior_variance

ENTROPY = 0.5 * math.log(2 * math.pi * math.e * 0.25)  # of N(0, .25), nats


@st.composite
def schedule_and_times(draw):
    """A schedule and three times r < s < t."""
    T = draw(st.integers(2, 1200))
    schedule = draw(st.sampled_from([Schedule.linear, Schedule.cosine]))(T)
    return schedule, *sorted(draw(st.lists(st.integers(0, T), min_size=3, max_size=3, unique=True)))


def posterior(schedule, t, s):
    """(a, b, variance) of q(x_s | x_t, x0) = N(a x0 + b x_t, variance), by the package."""
    unit, zero = (torch.tensor([[v]], dtype=torch.float64) for v in (1.0, 0.0))
    (a, variance), (b, _) = q_posterior(schedule, unit, zero, t, s), q_posterior(schedule, zero, unit, t, s)
    return a.item(), b.item(), variance.item()


@given(schedule_and_times())
def test_posterior_marginalises(case):
    """Averaged over q(x_t | x0), q(x_s | x_t, x0) is q(x_s | x0)."""
    schedule, _, s, t = case
    a, b, variance = posterior(schedule, t, s)
    now, then = schedule.alpha_bar[t].item(), schedule.alpha_bar[s].item()
    assert a + b * math.sqrt(now) == pytest.approx(math.sqrt(then), abs=1e-12)
    assert b**2 * (1 - now) + variance == pytest.approx(1 - then, abs=1e-12)


@given(schedule_and_times())
def test_posterior_composes(case):
    """Through s to r is the same as straight to r."""
    schedule, r, s, t = case
    (a1, b1, v1), (a2, b2, v2), (a, b, v) = (posterior(schedule, *p) for p in ((t, s), (s, r), (t, r)))
    assert [a2 + b2 * a1, b2 * b1, b2**2 * v1 + v2] == pytest.approx([a, b, v], abs=1e-10)


@pytest.mark.parametrize(("t", "s"), [(2, 1), (300, 299), (300, 100), (900, 10)])
def test_posterior_is_bayes_rule(t, s):
    """q(x_s | x_t, x0) is proportional to q(x_t | x_s) q(x_s | x0): moments by quadrature."""
    schedule, x0, x_t = Schedule.linear(1000), 0.4, -0.3
    now, then = schedule.alpha_bar[t], schedule.alpha_bar[s]
    keep = now / then
    mean, variance = q_posterior(schedule, *(torch.full((1, 1), v, dtype=torch.float64) for v in (x0, x_t)), t, s)
    grid = mean.item() + torch.linspace(-12, 12, 20_001, dtype=torch.float64) * variance.sqrt().item()
    log_density = (Normal(keep.sqrt() * grid, (1 - keep).sqrt()).log_prob(torch.tensor(x_t, dtype=torch.float64))
                   + Normal(then.sqrt() * x0, (1 - then).sqrt()).log_prob(grid))
    density = torch.exp(log_density - log_density.max())
    density /= torch.trapezoid(density, grid)
    first = torch.trapezoid(grid * density, grid)
    second = torch.trapezoid((grid - first) ** 2 * density, grid)
    assert mean.item() == pytest.approx(first.item(), abs=1e-9)
    assert variance.item() == pytest.approx(second.item(), rel=1e-7)


def test_times_a_row_are_those_times():
    schedule = Schedule.cosine(50)
    x0, x_t = (torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    t, s = torch.tensor([50, 20, 2]), torch.tensor([10, 0, 1])
    mean, variance = q_posterior(schedule, x0, x_t, t, s)
    noised = q_sample(schedule, x0, t, x_t)
    assert variance.shape == (3, 1, 1)
    for i in range(3):
        row = slice(i, i + 1)
        m, v = q_posterior(schedule, x0[row], x_t[row], int(t[i]), int(s[i]))
        assert torch.equal(mean[row], m) and torch.equal(variance[i].squeeze(), v)
        assert torch.equal(noised[row], q_sample(schedule, x0[row], int(t[i]), x_t[row]))


def test_kl_is_that_of_torch():
    a, b = (torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64))
    c, d = (torch.tensor([0.1, 0.4, 2.0], dtype=torch.float64), torch.tensor([0.7, 1.0, 1.0], dtype=torch.float64))
    assert torch.allclose(gaussian_kl(a, b, c, d), kl_divergence(Normal(a, b.sqrt()), Normal(c, d.sqrt())), atol=1e-12)


@pytest.fixture
def exact_expectation(monkeypatch):
    """x0 (4, 1) and noise that together take +-1 standard deviation once each: exact means of everything quadratic in both."""
    eps = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    monkeypatch.setattr(torch, "randn", lambda shape, **options: eps)
    return 0.5 * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64)


@pytest.mark.parametrize(("variance", "gap", "tolerance"), [("small", 0.570, 5e-4), ("large", 0.0011, 5e-5)])
def test_gap_of_the_bound(exact_expectation, variance, gap, tolerance):
    """N(0, .25), linear T = 1000, exact denoiser: the bound exceeds the entropy by .570 (fixed-small) or .0011 (fixed-large) nats."""
    gm = GaussianMixture(torch.ones(1), torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0.25]))
    schedule = Schedule.linear(1000)
    prior, kl, decoder = vlb_terms(gm.denoiser(schedule), schedule, exact_expectation, variance=variance, bins=None)
    assert prior.shape == (4,) and kl.shape == (4, 999) and decoder.shape == (4,)
    assert (prior + kl.sum(1) + decoder).mean().item() - ENTROPY == pytest.approx(gap, abs=tolerance)


def test_terms_of_the_bound_one_by_one(exact_expectation):
    """Prior, one KL and decoder against torch's divergences and density, with a denoiser that is wrong in a known way."""
    schedule, x0 = Schedule.linear(10), exact_expectation
    wrong = FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", 0 * x_t + 0.1))
    prior, kl, decoder = vlb_terms(wrong, schedule, x0, variance="large", bins=None)
    a = schedule.alpha_bar[10]
    assert torch.allclose(prior, kl_divergence(Normal(a.sqrt() * x0, (1 - a).sqrt()), Normal(0 * x0, 1.0)).flatten())
    for t in (2, 7, 10):
        x_t = q_sample(schedule, x0, t, torch.randn(()))
        (true, small), (mean, _) = q_posterior(schedule, x0, x_t, t, t - 1), q_posterior(schedule, 0 * x0 + 0.1, x_t, t, t - 1)
        expected = kl_divergence(Normal(true, small.sqrt()), Normal(mean, schedule.betas[t].sqrt()))
        assert torch.allclose(kl[:, t - 2], expected.flatten(), atol=1e-12)
    for variance, first in (("large", schedule.betas[1]), ("small", posterior_variance(schedule, 2, 1))):
        decoder = vlb_terms(wrong, schedule, x0, variance=variance, bins=None)[2]
        peak = Normal(torch.tensor(0.1, dtype=torch.float64), first.sqrt())
        assert torch.allclose(decoder, -peak.log_prob(x0).flatten(), atol=1e-12)


def test_every_pixel_counts():
    """Nats an image: the terms of a batch of two pixels are the sums of those of each pixel (same noise, independent parts)."""
    schedule = Schedule.linear(5)
    x0 = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    plain = FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", 0 * x_t))
    prior, _, decoder = vlb_terms(plain, schedule, x0, generator=torch.Generator().manual_seed(0))
    parts = [vlb_terms(plain, schedule, x0[:, i : i + 1], generator=torch.Generator().manual_seed(0)) for i in (0, 1)]
    assert prior.item() == pytest.approx(sum(p[0].item() for p in parts), abs=1e-12)
    assert decoder.item() == pytest.approx(sum(p[2].item() for p in parts), abs=1e-9)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_the_decoder_is_a_distribution_over_grey_levels(levels):
    """The probabilities of all levels sum to 1, the outermost reaching to infinity (equation 13 of Ho et al. 2020)."""
    schedule = Schedule.linear(1000, 0.01, 0.02)
    short = Schedule(schedule.alpha_bar[:3])
    x0 = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]
    for mean in (-1.2, -0.43, 0.9):
        constant = FunctionDenoiser(short, lambda x_t, t, cond, mean=mean: Prediction(x_t, short.at(t), "x0", 0 * x_t + mean))
        _, _, decoder = vlb_terms(constant, short, x0, bins=levels)
        p = torch.exp(-decoder)
        # Each level far from the mean is clamped to 1e-12, which is all the sum may exceed 1 by.
        assert p.sum().item() == pytest.approx(1, abs=levels * 2e-12)
        if mean == -0.43:  # far enough from the ends
            assert p.argmax() == (x0[:, 0] - mean).abs().argmin()
