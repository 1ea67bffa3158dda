"""Checks of the equations of notebook 4.2, each by a route that does not use the formula it checks."""

import math

import numpy as np
import pytest
import torch
from bindings import checks
from short_chain import BETAS, NOISY, SCHEDULE, double, random
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from diffusion_core import GaussianMixture, Prediction, Schedule, q_posterior, q_sample
from diffusion_core.gaussian import gaussian_kl
from diffusion_core.training import drop_labels

EYE = torch.eye(4, dtype=torch.float64)
MODEL = {1: (0.9, 0.15), 2: (0.7, 0.3), 3: (0.5, 0.7)}  # x_{t-1} given x_t: mean c x_t, variance v
SHORT = Schedule.from_betas(double(0.1, 0.3, 0.6))


def hermite(n, k):
    """Points (n^k, k) and weights (n^k,) that average polynomials up to degree 2n - 1 over k standard normals exactly."""
    x, w = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(n))
    return torch.cartesian_prod(*[x] * k).reshape(-1, k), torch.cartesian_prod(*[w / w.sum()] * k).reshape(-1, k).prod(1)


def log_normal(x, mean, variance):
    return Normal(mean, torch.as_tensor(variance, dtype=torch.float64).sqrt()).log_prob(x)


def model_covariance():
    """Of x_0 .. x_3 under the model, walking back from x_3."""
    mix = EYE.clone()
    for t, (c, v) in sorted(MODEL.items(), reverse=True):
        mix[t - 1] = c * mix[t] + v**0.5 * EYE[t - 1]
    return mix @ mix.T


def forward_given(x0):
    """Mean (3,) and covariance (3, 3) of x_1, x_2, x_3 given x_0, walking forward with fresh noise."""
    mix, mean, values = torch.zeros(4, 4, dtype=torch.float64), [x0], []
    for t in (1, 2, 3):
        beta = SHORT.betas[t]
        mix[t] = (1 - beta).sqrt() * mix[t - 1] + beta.sqrt() * EYE[t]
        mean.append((1 - beta).sqrt() * mean[-1])
        values.append(mean[-1])
    return torch.stack(values), mix[1:] @ mix[1:].T


@checks("eq-objectives-path")
def test_three_terms_on_every_path():
    """The left side from two joint Gaussians over the whole path, the right side step by step."""
    model = MultivariateNormal(torch.zeros(4, dtype=torch.float64), model_covariance())
    for path in 2 * torch.randn(20, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)):
        left = model.log_prob(path) - MultivariateNormal(*forward_given(path[0])).log_prob(path[1:])
        a = SHORT.alpha_bar
        right = log_normal(path[3], double(0)[0], 1.0) - log_normal(path[3], a[3].sqrt() * path[0], 1 - a[3])
        for t in (2, 3):
            mean, variance = q_posterior(SHORT, path[:1], path[t : t + 1], t, t - 1)
            c, v = MODEL[t]
            right = right + log_normal(path[t - 1], c * path[t], v) - log_normal(path[t - 1], mean[0], variance)
        right = right + log_normal(path[0], MODEL[1][0] * path[1], MODEL[1][1])
        assert float(left) == pytest.approx(float(right), abs=1e-9)


@checks("eq-objectives-bound")
@pytest.mark.parametrize("x0", [0.8, -1.7])
def test_evidence_and_gap_are_the_three_terms(x0):
    """Left: the model's marginal and its posterior over paths, by conditioning one Gaussian. Right: one-dimensional KLs, averaged over x_t."""
    covariance, a = model_covariance(), SHORT.alpha_bar
    log_p = float(log_normal(double(x0)[0], double(0)[0], covariance[0, 0]))
    slope = covariance[1:, 0] / covariance[0, 0]
    posterior = MultivariateNormal(slope * x0, covariance[1:, 1:] - torch.outer(slope, covariance[0, 1:]))
    gap = float(kl_divergence(MultivariateNormal(*forward_given(double(x0)[0])), posterior))
    eps, w = hermite(4, 1)
    total = float(gaussian_kl(a[3].sqrt() * x0, 1 - a[3], *double(0.0, 1.0)))
    for t, (c, v) in MODEL.items():
        x_t = a[t].sqrt() * x0 + (1 - a[t]).sqrt() * eps[:, 0]
        if t == 1:
            total -= float((w * log_normal(double(x0)[0], c * x_t, v)).sum())
        else:
            mean, variance = q_posterior(SHORT, torch.full_like(x_t, x0), x_t, t, t - 1)
            total += float((w * gaussian_kl(mean, variance, c * x_t, double(v)[0])).sum())
    assert gap > 0.01
    assert -log_p + gap == pytest.approx(total, abs=1e-9)


@checks("eq-objectives-snr")
@pytest.mark.parametrize(("t", "s"), NOISY)
def test_a_steps_kl_is_the_gain_in_snr(t, s):
    """Left: torch's KL between the two Gaussians that Bayes' rule gives on betas multiplied by hand."""
    a_t, a_s = (math.prod(1 - b for b in BETAS[:k]) for k in (t, s))
    kept, x0, x0_hat, eps = a_t / a_s, 0.7, -0.4, 1.3
    x_t = math.sqrt(a_t) * x0 + math.sqrt(1 - a_t) * eps
    precision = 1 / (1 - a_s) + kept / (1 - kept)
    steps = [Normal(double((math.sqrt(a_s) * x / (1 - a_s) + math.sqrt(kept) * x_t / (1 - kept)) / precision), double(precision**-0.5)) for x in (x0, x0_hat)]
    kl, eps_hat = float(kl_divergence(*steps)), (x_t - math.sqrt(a_t) * x0_hat) / math.sqrt(1 - a_t)
    assert 0.5 * float(SCHEDULE.snr(s) - SCHEDULE.snr(t)) * (x0 - x0_hat) ** 2 == pytest.approx(kl, rel=1e-10)
    assert 0.5 * float(SCHEDULE.snr(s) / SCHEDULE.snr(t) - 1) * (eps - eps_hat) ** 2 == pytest.approx(kl, rel=1e-10)


@checks("eq-objectives-sech")
@pytest.mark.parametrize("c2", [0.1, 1.0, 3.0])
def test_an_even_t_is_a_bell_over_lambda(c2):
    """The error of eps of the exact denoiser of N(0, c2) as a function of the path, integrated over u and over lambda."""
    u = torch.linspace(0, 1, 200_001, dtype=torch.float64)
    alpha, sigma = torch.cos(math.pi * u / 2), torch.sin(math.pi * u / 2)
    left = torch.trapezoid(alpha**2 * c2 / (alpha**2 * c2 + sigma**2), u)  # snr Var[x0 | x_t]
    lam = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    right = torch.trapezoid(c2 / (c2 + torch.exp(-2 * lam)) / (math.pi * torch.cosh(lam)), lam)
    assert float(left) == pytest.approx(float(right), abs=1e-9)
    sym = torch.trapezoid(1 / (math.pi * torch.cosh(lam)), lam)
    assert float(sym) == pytest.approx(1, abs=1e-9)


@checks("eq-objectives-errors")
@pytest.mark.parametrize("t", [1, 4, 8])
def test_one_error_in_four_targets(t):
    """Each target's error by solving x_t = alpha x0 + sigma eps anew for the wrong x0."""
    alpha, sigma = float(SCHEDULE.alpha_bar[t].sqrt()), float((1 - SCHEDULE.alpha_bar[t]).sqrt())
    x_t, x0, wrong = 0.9, 0.4, -0.35
    targets = []
    for x in (x0, wrong):
        eps = (x_t - alpha * x) / sigma
        targets.append((eps, alpha * eps - sigma * x, eps - x))
    snr, square = float(SCHEDULE.snr(t)), (x0 - wrong) ** 2
    found = [(one - other) ** 2 for one, other in zip(*targets, strict=True)]
    assert found == pytest.approx([snr * square, (1 + snr) * square, (1 + math.sqrt(snr)) ** 2 * square], rel=1e-9)


@checks("eq-objectives-edm")
@pytest.mark.parametrize("rho", [0.05, 0.7, 9.0])
@pytest.mark.parametrize("sd", [0.5, 1.0])
def test_the_best_skip_by_search(rho, sd):
    """Smallest standard deviation of x0 - c y over a fine grid of c, the variance from a Gauss-Hermite average."""
    z, w = hermite(4, 2)
    x0, y = sd * z[:, 0], sd * z[:, 0] + rho * z[:, 1]
    c = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    spread = ((x0**2 * w).sum() - 2 * c * (x0 * y * w).sum() + c**2 * (y**2 * w).sum()).sqrt()
    k = int(spread.argmin())
    assert float(c[k]) == pytest.approx(sd**2 / (sd**2 + rho**2), abs=1e-5)
    assert float(spread[k]) == pytest.approx(rho * sd / math.sqrt(sd**2 + rho**2), abs=1e-8)


def raw_target(t, x0, eps, sd):
    """F's target for D = c_skip y + c_out F, written with regression of x0 on y: the standardised residual."""
    a = SCHEDULE.alpha_bar[t]
    y, rho2 = x0 + ((1 - a) / a).sqrt() * eps, (1 - a) / a
    slope = sd**2 / (sd**2 + rho2)
    return (x0 - slope * y) / (sd**2 * (1 - slope)) ** 0.5


@checks("eq-objectives-edm-weight")
@pytest.mark.parametrize("t", [1, 3, 8])
@pytest.mark.parametrize("sd", [0.5, 1.0, 2.0])
def test_weight_of_a_plain_error_of_the_raw_target(t, sd):
    """A change of x0 at fixed y moves the target; the ratio of squares against the formula."""
    a = SCHEDULE.alpha_bar[t]
    x0, eps, shift = double(0.3), double(-0.8), 0.21
    moved_eps = eps - shift * (a / (1 - a)).sqrt()  # the same y
    change = raw_target(t, x0 + shift, moved_eps, sd) - raw_target(t, x0, eps, sd)
    assert float((change / shift) ** 2) == pytest.approx(float(SCHEDULE.snr(t)) + 1 / sd**2, rel=1e-9)


@checks("eq-objectives-edm-v")
@pytest.mark.parametrize("t", [1, 3, 8])
def test_for_unit_variance_the_raw_target_is_minus_v(t):
    x0, eps = random(9, 1) - 0.5, random(9, 2)
    v = Prediction(q_sample(SCHEDULE, x0, t, eps), SCHEDULE.at(t), "x0", x0).v
    assert torch.allclose(raw_target(t, x0, eps, 1.0), -v, atol=1e-12)


COSINE = Schedule.cosine(1000)
PAIR = GaussianMixture([0.4, 0.6], torch.tensor([[-1.0], [1.0]]).double(), [0.25, 0.16], labels=torch.tensor([0, 1]))
EXACT = PAIR.denoiser(COSINE)


def draws(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x0, part = PAIR.sample(n, generator)
    return x0, part, torch.randn(n, 1, dtype=torch.float64, generator=generator), generator


@checks("eq-objectives-dropout")
@pytest.mark.parametrize("p", [0.1, 0.6])
def test_dropout_is_a_weighted_sum_of_two_losses(p):
    """Any two functions for the two tasks; the coin is the core's. 4.5 standard errors of one million rows, 0.5 % of the loss."""
    x0, label, eps, generator = draws(1_000_000, 3)
    x_t, shown = q_sample(COSINE, x0, 400, eps), drop_labels(label, p, generator)
    told, free = torch.sin(x_t + label[:, None]), 0.3 * x_t + 1.5
    paid = ((eps - torch.where(shown[:, None] < 0, free, told)) ** 2)[:, 0]
    # The two losses by quadrature: x_t and E[eps | x_t, y] of each class, plus the variance of eps around it.
    grid = torch.linspace(-7, 7, 8001, dtype=torch.float64)[:, None]
    two = {"told": 0.0, "free": 0.0}
    for y, share in ((0, 0.4), (1, 0.6)):
        density = share * PAIR.log_prob(COSINE, grid, 400, y).exp() * float(grid[1, 0] - grid[0, 0])
        mean = EXACT(grid, 400, y).eps[:, 0]
        variance = float(PAIR.spread[y, 0] / (COSINE.alpha_bar[400] * PAIR.spread[y, 0] + 1 - COSINE.alpha_bar[400]) * COSINE.alpha_bar[400])
        for name, f in (("told", torch.sin(grid + y)), ("free", 0.3 * grid + 1.5)):
            two[name] += float((density * ((mean - f[:, 0]) ** 2 + variance)).sum())
    expected, error = (1 - p) * two["told"] + p * two["free"], float(paid.std()) / len(paid) ** 0.5
    assert error < 0.005 * expected and abs(float(paid.mean()) - expected) < 4.5 * error
    assert abs(two["told"] - two["free"]) > 0.3  # p and 1 - p exchanged would be seen


@checks("eq-objectives-guided")
@pytest.mark.parametrize("w", [-1.0, 0.5, 3.0])
def test_guidance_costs_w_squared(w):
    """Left: a grid over (x0, x_t) for class 1, no orthogonality used. Right: floor and price, each a sum over the same grid."""
    t, y = 400, 1
    a = COSINE.alpha_bar[t]
    x0, x_t = torch.linspace(-6, 8, 1401, dtype=torch.float64), torch.linspace(-8, 9, 1701, dtype=torch.float64)
    joint = Normal(*double(1.0, 0.4)).log_prob(x0)[:, None] + Normal(a.sqrt() * x0[:, None], (1 - a).sqrt()).log_prob(x_t[None])
    joint = joint.exp() / joint.exp().sum()
    eps = (x_t[None] - a.sqrt() * x0[:, None]) / (1 - a).sqrt()
    told, free = (EXACT(x_t[:, None], t, cond).eps[:, 0] for cond in (y, None))
    left = (joint * (eps - (1 + w) * told + w * free) ** 2).sum()
    floor = (joint * (eps - told) ** 2).sum()
    price = (joint.sum(0) * (told - free) ** 2).sum()
    assert float(price) > 0.05
    assert float(left) == pytest.approx(float(floor + w**2 * price), rel=1e-8)


@checks("eq-objectives-signed")
@pytest.mark.parametrize(("w", "t"), [(0.5, 300), (2.0, 600)])
def test_minimum_of_a_difference_of_losses(w, t):
    """Scores by automatic differentiation of log m_t; the minimum by a grid over f of the loss at each x, from posterior moments of eps."""
    x = torch.linspace(0.3, 2.0, 12, dtype=torch.float64)[:, None].requires_grad_()
    m = (1 + w) * PAIR.log_prob(COSINE, x, t, 1).exp() - w * PAIR.log_prob(COSINE, x, t).exp()
    (score,) = torch.autograd.grad(m.log().sum(), x)
    by_score, x = -float((1 - COSINE.alpha_bar[t]).sqrt()) * score[:, 0], x.detach()
    assert bool((m > 0).all())
    # E|eps - f|^2 at x for pairs of a class (or all): density-weighted integral over x0.
    a, x0 = COSINE.alpha_bar[t], torch.linspace(-4, 4, 4001, dtype=torch.float64)
    eps = (x - a.sqrt() * x0) / (1 - a).sqrt()
    likelihood = Normal(0.0, 1.0).log_prob(eps).exp()
    one, other = (Normal(*double(mean, sd)).log_prob(x0).exp() for mean, sd in ((1.0, 0.4), (-1.0, 0.5)))
    measure = likelihood * ((1 + w) * one - w * (0.6 * one + 0.4 * other))  # signed, over x0
    f = torch.linspace(-4, 4, 80_001, dtype=torch.float64)
    loss = measure.sum(1, keepdim=True) * f**2 - 2 * (measure * eps).sum(1, keepdim=True) * f
    assert torch.allclose(f[loss.argmin(1)], by_score, atol=2e-4)
    told, free = (EXACT(x, t, cond).eps[:, 0] for cond in (1, None))
    p_y, p = PAIR.log_prob(COSINE, x, t, 1).exp(), PAIR.log_prob(COSINE, x, t).exp()
    assert torch.allclose(((1 + w) * p_y * told - w * p * free) / ((1 + w) * p_y - w * p), by_score, atol=1e-9)
