"""Checks of the equations of notebook 2.2, each by a route that does not use the formula it checks."""

import math

import numpy as np
import pytest
import torch
from bindings import checks
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from diffusion_core import Schedule, q_posterior
from diffusion_core.gaussian import gaussian_kl

SIGMA = 0.5  # of both detectors: x = z + SIGMA eps, and x = z^2 + SIGMA eps with z ~ N(0, 1)
GRID = torch.linspace(-14, 14, 28_001, dtype=torch.float64)
QS = pytest.mark.parametrize(("mean", "width"), [(0.0, 1.0), (1.1, 0.2), (-0.7, 0.5)])


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def hermite(n, k):
    """Points (n^k, k) and weights (n^k,) that average polynomials up to degree 2n - 1 over k standard normals exactly."""
    x, w = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(n))
    points = torch.cartesian_prod(*[x] * k).reshape(-1, k)
    return points, torch.cartesian_prod(*[w / w.sum()] * k).reshape(-1, k).prod(1)


def log_normal(x, mean, variance):
    return -0.5 * ((x - mean) ** 2 / variance + math.log(2 * math.pi) + torch.as_tensor(variance, dtype=torch.float64).log())


def log_joint(z, x):
    """Of the intensity detector."""
    return log_normal(z, 0.0, 1.0) + log_normal(x, z**2, SIGMA**2)


def trapezoid(values):
    return float(torch.trapezoid(values, GRID))


@checks("eq-elbo-gap")
@QS
@pytest.mark.parametrize("x", [1.5, 0.2])
def test_evidence_is_bound_plus_divergence(x, mean, width):
    """log p(x) from the characteristic function of z^2 + SIGMA eps; the bound by Gauss-Hermite; the divergence by the trapezoid rule."""
    t = torch.linspace(0, 20, 200_001, dtype=torch.float64)
    phi = (1 - 2j * t) ** -0.5 * torch.exp(-((SIGMA * t) ** 2) / 2)
    log_p = math.log(float(torch.trapezoid((phi * torch.exp(-1j * t * x)).real, t)) / math.pi)

    eps, w = hermite(12, 1)
    z = mean + width * eps[:, 0]
    bound = float((w * (log_joint(z, x) - log_normal(z, mean, width**2))).sum())

    joint = log_joint(GRID, x)
    log_posterior = joint - math.log(trapezoid(joint.exp()))
    log_q = log_normal(GRID, mean, width**2)
    divergence = trapezoid(log_q.exp() * (log_q - log_posterior))
    assert divergence > 0.1
    assert bound + divergence == pytest.approx(log_p, abs=1e-8)


@checks("eq-elbo-reconstruction")
@QS
def test_the_bound_explains_and_strays(mean, width):
    x, (eps, w) = 1.5, hermite(12, 1)
    explains = float((w * log_normal(x, (mean + width * eps[:, 0]) ** 2, SIGMA**2)).sum())
    strays = float(kl_divergence(Normal(*double(mean, width)), Normal(*double(0.0, 1.0))))
    log_q = log_normal(GRID, mean, width**2)
    assert explains - strays == pytest.approx(trapezoid(log_q.exp() * (log_joint(GRID, x) - log_q)), abs=1e-9)


@checks("eq-elbo-width")
@pytest.mark.parametrize("mean", [0.0, 0.4, 1.1])
def test_the_best_width_is_the_mean_curvature(mean):
    """The best width by bisection on the slope of the bound (trapezoid rule, autograd); the curvature as a polynomial's average."""
    x, low, high = 1.5, 0.05, 2.0
    for _ in range(60):
        width = double((low + high) / 2).requires_grad_()
        log_q = log_normal(GRID, mean, width**2)
        (slope,) = torch.autograd.grad(torch.trapezoid(log_q.exp() * (log_joint(GRID, x) - log_q), GRID), width)
        low, high = (float(width.detach()), high) if slope > 0 else (low, float(width.detach()))
    curvature = -1 + (2 * x - 6 * (mean**2 + low**2)) / SIGMA**2  # the mean over q of -1 + (2x - 6z^2) / SIGMA^2
    assert 1 / low**2 == pytest.approx(-curvature, rel=1e-7)
    # The text: this is also the curvature of the bound in the mean.
    m = double(mean).requires_grad_()
    bound = torch.trapezoid(log_normal(GRID, m, low**2).exp() * log_joint(GRID, x), GRID)
    (slope,) = torch.autograd.grad(bound, m, create_graph=True)
    assert float(torch.autograd.grad(slope.sum(), m)[0]) == pytest.approx(-1 / low**2, rel=1e-7)


# Data N(0, V), q(z | x) = N(a x, b), model z ~ N(0, 1), x = theta z + SIGMA eps: everything is a Gaussian pair.
V, A, B = 1.7, 0.9, 0.35
THETAS = pytest.mark.parametrize("theta", [0.4, 1.0, 1.9])


def pair_of_data():
    return torch.tensor([[V, A * V], [A * V, A**2 * V + B]], dtype=torch.float64)


def pair_of_model(theta):
    return torch.tensor([[theta**2 + SIGMA**2, theta], [theta, 1.0]], dtype=torch.float64)


def joint_kl(theta):
    zero = torch.zeros(2, dtype=torch.float64)
    return float(kl_divergence(MultivariateNormal(zero, pair_of_data()), MultivariateNormal(zero, pair_of_model(theta))))


def mean_bound(theta):
    """The mean over data and q of log p(x, z) - log q(z | x), exact: a quadratic."""
    eps, w = hermite(6, 2)
    x = math.sqrt(V) * eps[:, 0]
    z = A * x + math.sqrt(B) * eps[:, 1]
    return (w * (log_normal(z, 0.0, 1.0) + log_normal(x, theta * z, SIGMA**2) - log_normal(z, A * x, B))).sum()


def conditional(cov, of, given):
    """Slope and variance of one of a Gaussian pair given the other."""
    slope = cov[of, given] / cov[given, given]
    return slope, cov[of, of] - slope * cov[of, given]


@checks("eq-elbo-joint")
@THETAS
def test_mean_bound_is_entropy_and_joint_divergence(theta):
    entropy = float(Normal(*double(0.0, math.sqrt(V))).entropy())
    assert float(mean_bound(theta)) == pytest.approx(-entropy - joint_kl(theta), abs=1e-10)


@checks("eq-elbo-chain-rule", "eq-elbo-other-way")
@THETAS
@pytest.mark.parametrize("first", [0, 1], ids=["data and gap", "prior and undoing"])
def test_joint_divergence_splits_both_ways(theta, first):
    q, p = pair_of_data(), pair_of_model(theta)
    marginal = kl_divergence(Normal(0.0, q[first, first].sqrt()), Normal(0.0, p[first, first].sqrt()))
    (q_slope, q_var), (p_slope, p_var) = (conditional(cov, 1 - first, first) for cov in (q, p))
    eps, w = hermite(6, 1)
    seen = q[first, first].sqrt() * eps[:, 0]
    rest = (w * gaussian_kl(q_slope * seen, q_var, p_slope * seen, p_var)).sum()
    assert min(float(marginal), float(rest)) > 1e-3
    assert float(marginal + rest) == pytest.approx(joint_kl(theta), abs=1e-10)


@checks("eq-elbo-theta")
def test_best_theta_for_a_fixed_q():
    theta = double(0.3).requires_grad_()
    (slope,) = torch.autograd.grad(mean_bound(theta), theta, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), theta)
    assert float(curvature) < 0
    best = float((theta - slope / curvature).detach())  # Newton's step lands on the top of a parabola
    assert best == pytest.approx(A * V / (A**2 * V + B), abs=1e-10)
    assert all(float(mean_bound(best)) > float(mean_bound(best + d)) for d in (-0.01, 0.01))


@checks("eq-elbo-score", "eq-elbo-pathwise")
@pytest.mark.parametrize(("m", "s"), [(0.3, 0.8), (-1.0, 1.4)])
def test_both_gradients_are_the_derivative_of_the_mean(m, s):
    """f(z) = sin z + z^3 / 5, whose mean is sin(m) exp(-s^2 / 2) + (m^3 + 3 m s^2) / 5."""
    damp = math.exp(-(s**2) / 2)
    by_m = math.cos(m) * damp + (3 * m**2 + 3 * s**2) / 5
    by_s = -s * math.sin(m) * damp + 6 * m * s / 5
    q, eps = log_normal(GRID, m, s**2).exp(), (GRID - m) / s
    f, slope = GRID.sin() + GRID**3 / 5, GRID.cos() + 3 * GRID**2 / 5
    # d log q / dm = eps / s, d log q / ds = (eps^2 - 1) / s
    assert (trapezoid(q * f * eps / s), trapezoid(q * f * (eps**2 - 1) / s)) == pytest.approx((by_m, by_s), abs=1e-9)
    assert (trapezoid(q * slope), trapezoid(q * eps * slope)) == pytest.approx((by_m, by_s), abs=1e-9)


@checks("eq-elbo-variance")
@pytest.mark.parametrize("D", [1, 2, 4])
def test_variances_of_single_draws(D):
    z, w = hermite(6, D)
    f, g = 0.5 * (z**2).sum(1), z[:, 0]
    mean = float((w * f).sum())
    assert mean == pytest.approx(D / 2, abs=1e-12)

    def variance(draws):
        return float((w * draws**2).sum() - (w * draws).sum() ** 2)

    found = [variance(z[:, 0]), variance(f * g), variance((f - mean) * g)]
    assert found == pytest.approx([1, (D + 2) * (D + 4) / 4, (D + 4) / 2], abs=1e-9)


# A chain of three steps. Betas by hand; the model's means are curved, so that no step is right.
BETAS, X0 = (0.1, 0.25, 0.5), 0.7
SCHEDULE = Schedule.from_betas(double(*BETAS))
MODEL = ((0.8, 0.05, 0.12), (0.7, -0.1, 0.3), (0.5, 0.1, 0.6))  # x_{t-1} given x_t = x: mean c x + d x^2, variance v


def paths(x0, eps):
    """x_0, .., x_3 by walking: x0 (M,) and the noise eps (M, 3)."""
    states = [x0]
    for t, beta in enumerate(BETAS):
        states.append(math.sqrt(1 - beta) * states[-1] + math.sqrt(beta) * eps[:, t])
    return states


def walked(states, model):
    """log p(x_3) + the sum of log p(x_{t-1} | x_t) - log q(x_t | x_{t-1}) on each path."""
    total = log_normal(states[3], 0.0, 1.0)
    for t, (beta, (c, d, v)) in enumerate(zip(BETAS, model, strict=True)):
        before, after = states[t], states[t + 1]
        total = total + log_normal(before, c * after + d * after**2, v) - log_normal(after, math.sqrt(1 - beta) * before, beta)
    return total


@checks("eq-elbo-bayes")
@pytest.mark.parametrize("t", [2, 3])
def test_a_step_turned_around(t):
    x0, before, after = double(0.7, -1.2), double(0.4, 0.9), double(-0.3, 1.5)
    a = [math.prod(1 - beta for beta in BETAS[:k]) for k in range(4)]
    step = log_normal(after, math.sqrt(1 - BETAS[t - 1]) * before, BETAS[t - 1])
    mean, variance = q_posterior(SCHEDULE, x0, after, t, t - 1)
    turned = log_normal(before, mean, variance)
    marginals = log_normal(after, math.sqrt(a[t]) * x0, 1 - a[t]) - log_normal(before, math.sqrt(a[t - 1]) * x0, 1 - a[t - 1])
    assert torch.allclose(step, turned + marginals, atol=1e-12)


@checks("eq-elbo-telescoped")
def test_the_chains_bound_telescopes():
    """Left: the mean over whole paths, exact because it is a polynomial. Right: one-dimensional averages of KLs."""
    eps, w = hermite(8, 3)
    left = float((w * walked(paths(torch.full_like(w, X0), eps), MODEL)).sum())

    one, w = hermite(8, 1)
    a = SCHEDULE.alpha_bar
    right = -float(gaussian_kl(a[3].sqrt() * X0, 1 - a[3], *double(0.0, 1.0)))
    for t, (c, d, v) in enumerate(MODEL, 1):
        x_t = a[t].sqrt() * X0 + (1 - a[t]).sqrt() * one[:, 0]
        mean = c * x_t + d * x_t**2
        if t == 1:
            right += float((w * log_normal(X0, mean, v)).sum())
        else:
            true_mean, true_variance = q_posterior(SCHEDULE, torch.full_like(x_t, X0), x_t, t, t - 1)
            right -= float((w * gaussian_kl(true_mean, true_variance, mean, double(v)[0])).sum())
    assert left == pytest.approx(right, abs=1e-10)


@checks("eq-elbo-chain-gap")
def test_what_the_chains_bound_misses():
    """Data N(0, c2): the mean of the bound over data and paths, against KLs of the true reverse steps from the model's."""
    c2 = 0.4
    eps, w = hermite(6, 4)
    bound = float((w * walked(paths(math.sqrt(c2) * eps[:, 3], eps[:, :3]), MODEL)).sum())
    entropy = float(Normal(*double(0.0, math.sqrt(c2))).entropy())

    one, w = hermite(8, 1)
    marginal = [c2]
    for beta in BETAS:
        marginal.append((1 - beta) * marginal[-1] + beta)
    missed = float(kl_divergence(Normal(*double(0.0, math.sqrt(marginal[3]))), Normal(*double(0.0, 1.0))))
    for t, (beta, (c, d, v)) in enumerate(zip(BETAS, MODEL, strict=True), 1):
        together = math.sqrt(1 - beta) * marginal[t - 1]  # covariance of x_{t-1} and x_t
        slope, variance = together / marginal[t], marginal[t - 1] - together**2 / marginal[t]
        x_t = math.sqrt(marginal[t]) * one[:, 0]
        missed += float((w * gaussian_kl(slope * x_t, double(variance)[0], c * x_t + d * x_t**2, double(v)[0])).sum())
    assert missed > 0.1
    assert -bound - entropy == pytest.approx(missed, abs=1e-10)
