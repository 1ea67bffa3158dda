"""Checks of the equations of notebook 3.1, each by a route that does not use the formula it checks."""

import math

import pytest
import torch
from bindings import checks

from diffusion_core import GaussianMixture, Schedule, ddpm, final, q_posterior, q_sample, timesteps
from diffusion_core.gaussian import gaussian_kl

T = 50
SCHEDULE = Schedule.linear(T)
# Betas by Ho et al.'s rule, scaled from T = 1000, without the package: index t - 1 holds beta_t.
BETAS = [(1e-4 + (0.02 - 1e-4) * k / (T - 1)) * 1000 / T for k in range(T)]
PARTS = ((0.35, -1.0, 0.04), (0.65, 0.8, 0.09))  # weight, mean, variance
WEIGHTS, MEANS, VARIANCES = zip(*PARTS, strict=True)
TWO = GaussianMixture(WEIGHTS, torch.tensor(MEANS).double()[:, None], VARIANCES)
GRID = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
PAIRS = pytest.mark.parametrize(("t", "s"), [(2, 1), (10, 9), (30, 12), (50, 20)])


def kept(t, s):
    """What the steps s + 1 .. t keep of the variance."""
    return math.prod(1 - beta for beta in BETAS[s:t])


def density(x, mean, variance):
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def mixture_density(x, t=0):
    """Of the two parts, diffused to t."""
    a = kept(t, 0)
    return sum(w * density(x, math.sqrt(a) * m, a * v + 1 - a) for w, m, v in PARTS)


def moments(x, unnormalised):
    """Mean and variance of a density on the grid x."""
    p = unnormalised / torch.trapezoid(unnormalised, x)
    mean = torch.trapezoid(p * x, x)
    return float(mean), float(torch.trapezoid(p * (x - mean) ** 2, x))


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def randn(n, seed):
    return torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@checks("eq-ddpm-xt")
def test_one_jump_has_mean_and_variance_of_the_walk():
    mean, variance = 1.0, 0.0  # of a walk from x0 = 1
    for t, beta in enumerate(BETAS, 1):
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        jump = q_sample(SCHEDULE, column(1.0, 0.0), t, column(0.0, 1.0))[:, 0]
        assert jump.tolist() == pytest.approx([mean, math.sqrt(variance)], abs=1e-13)


@checks("eq-ddpm-spectrum")
def test_noise_adds_the_same_power_to_every_frequency():
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(1, 6, 6, dtype=torch.float64, generator=generator).cumsum(-1)
    n, t = 20_000, 12
    eps = torch.randn(n, 6, 6, dtype=torch.float64, generator=generator)

    def power(x):
        return torch.fft.fft2(x, norm="ortho").abs() ** 2

    measured = power(q_sample(SCHEDULE, x0.expand(n, -1, -1), t, eps))
    expected = kept(t, 0) * power(x0)[0] + 1 - kept(t, 0)
    assert ((measured.mean(0) - expected).abs() < 5 * measured.std(0) / math.sqrt(n)).all()


@checks("eq-ddpm-posterior")
@PAIRS
def test_posterior_is_bayes_rule_on_a_grid(t, s):
    x0, x_t = 0.8, -0.6
    before = density(GRID, math.sqrt(kept(s, 0)) * x0, 1 - kept(s, 0))
    says = density(x_t, math.sqrt(kept(t, s)) * GRID, 1 - kept(t, s))
    mean, variance = q_posterior(SCHEDULE, column(x0), column(x_t), t, s)
    assert (float(mean), float(variance)) == pytest.approx(moments(GRID, before * says), abs=1e-9)


@checks("eq-ddpm-reverse-variance")
@PAIRS
@pytest.mark.parametrize("x_t", [-1.2, 0.0, 0.7])
def test_reverse_variance_adds_what_is_unknown_of_x0(t, s, x_t):
    # q(x_s | x_t) from the density at s, which is a mixture again; q(x0 | x_t) from the density of the data.
    says = density(x_t, math.sqrt(kept(t, s)) * GRID, 1 - kept(t, s))
    mean, variance = moments(GRID, mixture_density(GRID, s) * says)
    likelihood = density(x_t, math.sqrt(kept(t, 0)) * GRID, 1 - kept(t, 0))
    _, unknown = moments(GRID, mixture_density(GRID) * likelihood)

    x0_hat = TWO.denoiser(SCHEDULE)(column(x_t), t).x0
    step_mean, small = q_posterior(SCHEDULE, x0_hat, column(x_t), t, s)
    pull, _ = q_posterior(SCHEDULE, column(1.0), column(0.0), t, s)  # the coefficient of x0
    beta = 1 - kept(t, s)
    assert float(pull) ** 2 == pytest.approx(kept(s, 0) * beta**2 / (1 - kept(t, 0)) ** 2, abs=1e-12)
    assert variance == pytest.approx(float(small + pull**2 * unknown), abs=1e-8)
    assert mean == pytest.approx(float(step_mean), abs=1e-8)  # the text: the mean is exact


@checks("eq-ddpm-gaussian-sampler")
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("steps", [1, 5, 20])
def test_recursion_predicts_the_variance_of_samples(variance, steps):
    schedule, c2, n = Schedule.linear(1000), 0.25, 100_000
    a, V = schedule.alpha_bar.tolist(), 1.0
    for t, s in timesteps(1000, steps):
        keeps = a[t] / a[s]
        g = math.sqrt(a[t]) * c2 / (a[t] * c2 + 1 - a[t])
        k = (math.sqrt(a[s]) * (1 - keeps) * g + math.sqrt(keeps) * (1 - a[s])) / (1 - a[t])
        noise = (1 - keeps) * ((1 - a[s]) / (1 - a[t]) if variance == "small" else 1) if s > 0 else 0
        V = k**2 * V + noise
    generator = torch.Generator().manual_seed(2)
    denoiser = GaussianMixture([1.0], torch.zeros(1, 1).double(), [c2]).denoiser(schedule)
    x = final(ddpm(denoiser, randn(n, 1), schedule, steps=steps, variance=variance, generator=generator))
    assert float(x.var()) == pytest.approx(V, rel=4 * math.sqrt(2 / n))


@checks("eq-ddpm-mu-eps")
@PAIRS
def test_mean_from_eps_is_the_mean_from_x0(t, s):
    x0, eps = randn(7, 3), randn(7, 4)
    x_t = math.sqrt(kept(t, 0)) * x0 + math.sqrt(1 - kept(t, 0)) * eps
    from_eps = (x_t - (1 - kept(t, s)) / math.sqrt(1 - kept(t, 0)) * eps) / math.sqrt(kept(t, s))
    assert float((q_posterior(SCHEDULE, x0, x_t, t, s)[0] - from_eps).abs().max()) < 1e-12


@checks("eq-ddpm-kl")
@pytest.mark.parametrize("t", [2, 10, 50])
def test_kl_is_the_weighted_error_of_eps(t):
    x0, eps, eps_hat = 0.8, 1.1, 0.4
    abar, beta = kept(t, 0), BETAS[t - 1]
    x_t = math.sqrt(abar) * x0 + math.sqrt(1 - abar) * eps
    x0_hat = (x_t - math.sqrt(1 - abar) * eps_hat) / math.sqrt(abar)
    mean, small = q_posterior(SCHEDULE, column(x0), column(x_t), t, t - 1)
    guess, _ = q_posterior(SCHEDULE, column(x0_hat), column(x_t), t, t - 1)
    sd = math.sqrt(small)
    x = torch.linspace(float(mean) - 12 * sd, float(mean) + 12 * sd, 20_001, dtype=torch.float64)
    q = density(x, float(mean), float(small))
    log_ratio = ((x - float(guess)) ** 2 - (x - float(mean)) ** 2) / (2 * float(small))  # log q - log p
    by_quadrature = float(torch.trapezoid(q * log_ratio, x))
    weight = beta**2 / (2 * float(small) * (1 - beta) * (1 - abar))
    assert weight * (eps - eps_hat) ** 2 == pytest.approx(by_quadrature, rel=1e-9)
    assert float((mean - guess) ** 2 / (2 * small)) == pytest.approx(by_quadrature, rel=1e-9)
    assert float(gaussian_kl(mean, small, guess, small)) == pytest.approx(by_quadrature, rel=1e-9)
    # The shortened weight in the notebook's table.
    assert weight == pytest.approx(beta / (2 * (1 - beta) * (1 - kept(t - 1, 0))), rel=1e-9)


@checks("eq-ddpm-mc-variance")
def test_monte_carlo_pays_twice_the_kl_in_variance():
    n, t = 400_000, 8
    x0, _ = TWO.sample(n, torch.Generator().manual_seed(5))
    eps = randn(n, 6)
    x_t = q_sample(SCHEDULE, x0, t, eps)
    mean, small = q_posterior(SCHEDULE, x0, x_t, t, t - 1)
    guess, _ = q_posterior(SCHEDULE, TWO.denoiser(SCHEDULE)(x_t, t).x0, x_t, t, t - 1)
    kl = gaussian_kl(mean, small, guess, small)
    x_s = mean + small.sqrt() * randn(n, 7)
    q, p = (torch.distributions.Normal(m, small.sqrt()) for m in (mean, guess))
    naive = q.log_prob(x_s) - p.log_prob(x_s)
    assert float(naive.mean()) == pytest.approx(float(kl.mean()), abs=5 * float(naive.std()) / math.sqrt(n))
    assert float(naive.var()) == pytest.approx(float(kl.var() + 2 * kl.mean()), rel=0.02)
    assert float(naive.var()) > 1.5 * float(kl.var())  # so that the second part is seen at all


def joint(t):
    """Grids of x0 (K, 1) and x_t (1, M), and the probability of each pair (K, M), which sums to 1."""
    x0 = torch.linspace(-3, 3, 1201, dtype=torch.float64)
    x_t = torch.linspace(-7, 7, 1401, dtype=torch.float64)
    p = mixture_density(x0)[:, None] * density(x_t[None], math.sqrt(kept(t, 0)) * x0[:, None], 1 - kept(t, 0))
    return x0[:, None], x_t[None], p / p.sum()


@checks("eq-ddpm-floor")
@pytest.mark.parametrize("t", [5, 15, 30])
def test_loss_of_any_predictor_is_floor_plus_excess(t):
    x0, x_t, p = joint(t)
    eps = (x_t - math.sqrt(kept(t, 0)) * x0) / math.sqrt(1 - kept(t, 0))
    exact = TWO.denoiser(SCHEDULE)(x_t.T, t)
    best_eps, best_x0 = exact.eps.T, exact.x0.T
    snr = kept(t, 0) / (1 - kept(t, 0))
    floor = float(snr * (p * (x0 - best_x0) ** 2).sum())
    assert 0.005 < floor < 1
    assert float((p * (eps - best_eps) ** 2).sum()) == pytest.approx(floor, rel=1e-6)
    for predictor in (0 * x_t, 0.7 * x_t, best_eps + 0.3 * torch.sin(2 * x_t)):
        loss, excess = (p * (eps - predictor) ** 2).sum(), (p * (predictor - best_eps) ** 2).sum()
        assert float(loss) == pytest.approx(floor + float(excess), rel=1e-6)
        assert float(excess) > 0.01


@checks("eq-ddpm-total-variance")
@pytest.mark.parametrize("t", [5, 15, 30])
def test_variance_of_x0_is_that_of_the_mean_plus_the_unknown(t):
    x0, x_t, p = joint(t)
    best = TWO.denoiser(SCHEDULE)(x_t.T, t).x0.T
    mean = 0.35 * -1.0 + 0.65 * 0.8
    whole = 0.35 * (0.04 + 1.0) + 0.65 * (0.09 + 0.64) - mean**2
    known, unknown = float((p * (best - mean) ** 2).sum()), float((p * (x0 - best) ** 2).sum())
    assert known + unknown == pytest.approx(whole, rel=1e-5)
    assert min(known, unknown) > 0.005
