"""The numbered equations of section 4.1 in continuous time, each computed by a second route."""

import math

import pytest
import torch
from bindings import checks
from short_chain import PAIRS, SCHEDULE, double, random
from torch.distributions import Normal

from diffusion_core import GaussianMixture, ddim, final, q_sample
from diffusion_core.gaussian import gaussian_kl

# Continuous time, with a rate and data of its own: beta(u) = 1 + 6 u^2, two bumps.

BUMPS = ((0.4, -0.7, 0.05), (0.6, 0.9, 0.12))  # weight, mean, variance


def rate(u):
    return 1 + 6 * u**2


def alpha_sigma(u):
    total = u + 2 * u**3
    return math.exp(-total / 2), math.sqrt(-math.expm1(-total))


def bumps(x, A, S):
    """Density of A x0 + S eps at x, with what is needed for conditional means: parts (K, ..) and x0-hat."""
    parts, guesses = [], []
    for weight, mean, variance in BUMPS:
        V = A**2 * variance + S**2
        parts.append(weight * torch.exp(-((x - A * mean) ** 2) / (2 * V)) / math.sqrt(2 * math.pi * V))
        guesses.append(mean + A * variance / V * (x - A * mean))
    p = parts[0] + parts[1]
    return p, (parts[0] * guesses[0] + parts[1] * guesses[1]) / p


X = torch.linspace(-7, 7, 2801, dtype=torch.float64)
DX = float(X[1] - X[0])
SEEN = (torch.sin, lambda x: x**2, lambda x: torch.exp(-2 * (x - 0.9) ** 2), lambda x: x)


@checks("eq-process-fokker")
@pytest.mark.parametrize("u", [0.05, 0.3, 0.8])
def test_fokker_planck_by_differences(u):
    h, b = 1e-4, rate(u)
    p = bumps(X, *alpha_sigma(u))[0]
    change = (bumps(X, *alpha_sigma(u + h))[0] - bumps(X, *alpha_sigma(u - h))[0]) / (2 * h)
    drift = (X * p)[2:] - (X * p)[:-2]
    blur = p[2:] - 2 * p[1:-1] + p[:-2]
    torch.testing.assert_close(change[1:-1], b / 2 * (drift / (2 * DX) + blur / DX**2), rtol=0, atol=4e-3 * float(change.abs().max()))


def score(x, u):
    alpha, sigma = alpha_sigma(u)
    return (alpha * bumps(x, alpha, sigma)[1] - x) / sigma**2


@checks("eq-process-family")
@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0, 2.0])
def test_one_small_step_back_reaches_the_earlier_density(lam):
    """Averages after a step of size h, its noise by quadrature, against those of the density at u - h: an error of order h."""
    u, z = 0.4, torch.linspace(-8, 8, 161, dtype=torch.float64)
    weight = torch.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) * 0.1
    p, moves = bumps(X, *alpha_sigma(u))[0] * DX, []
    for f in SEEN:
        errors = []
        for h in (2e-3, 1e-3):
            drift = -rate(u) / 2 * X - (1 + lam**2) / 2 * rate(u) * score(X, u)
            moved = (X - h * drift)[:, None] + lam * math.sqrt(rate(u) * h) * z
            before = float((bumps(X, *alpha_sigma(u - h))[0] * DX) @ f(X))
            errors.append((float(p @ (f(moved) @ weight)) - before) / h)
        assert abs(errors[1]) < 0.03 and abs(2 * errors[1] - errors[0]) < 2e-4  # extrapolated to h = 0
        moves.append(abs(before - float(p @ f(X))) / h)
    assert min(moves[0], moves[2], moves[3]) > 0.05  # they do move (that of x^2 hardly: these data have a mean square near 1)


@checks("eq-process-velocity")
@pytest.mark.parametrize("u", [0.15, 0.5, 0.9])
def test_the_average_velocity_carries_the_density(u):
    """d/du of averages, by differences over a quadrature in (x0, eps), against the average of f' times the velocity, by Bayes' rule."""

    def path(u):
        return 1 - u**2, u**1.5

    points, shares = double(-0.9, 0.1, 1.1), double(0.3, 0.3, 0.4)
    eps = torch.linspace(-9, 9, 1801, dtype=torch.float64)
    weight = torch.exp(-(eps**2) / 2) / math.sqrt(2 * math.pi) * 0.01

    def average(f, u):
        A, S = path(u)
        return float(shares @ (f(A * points[:, None] + S * eps) @ weight))

    (A, S), A_, S_ = path(u), -2 * u, 1.5 * u**0.5
    parts = shares * Normal(A * points, S).log_prob(X[:, None]).exp()
    p = parts.sum(1)
    x0_hat = (parts @ points) / p.clamp(min=1e-300)
    velocity = A_ * x0_hat + S_ * (X - A * x0_hat) / S
    slopes = (torch.cos, lambda x: 2 * x, lambda x: -4 * (x - 0.9) * torch.exp(-2 * (x - 0.9) ** 2), torch.ones_like)
    for f, slope in zip(SEEN, slopes, strict=True):
        by_differences = (average(f, u + 1e-4) - average(f, u - 1e-4)) / 2e-4
        assert float((p * slope(X) * velocity).sum()) * DX == pytest.approx(by_differences, abs=1e-5)


def runge_kutta(speed, x, start, end, n):
    h = (end - start) / n
    for i in range(n):
        u = start + i * h
        k1 = speed(x, u)
        k2 = speed(x + h / 2 * k1, u + h / 2)
        k3 = speed(x + h / 2 * k2, u + h / 2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + speed(x + h * k3, u + h))
    return x


@checks("eq-process-change")
def test_the_probability_flow_is_flow_matching_on_the_straight_path():
    """DDPM's flow in u, with the score; the straight path's in tau, with conditional means of its own. Fourth order both, to 1e-7."""
    begin, end, x = 0.9, 0.02, torch.linspace(-2, 2, 21, dtype=torch.float64)

    def unit(u):
        alpha, sigma = alpha_sigma(u)
        return alpha + sigma, sigma / (alpha + sigma)

    def straight(z, tau):
        x0_hat = bumps(z, 1 - tau, tau)[1]
        return (z - (1 - tau) * x0_hat) / tau - x0_hat

    along_u = runge_kutta(lambda x, u: -rate(u) / 2 * (x + score(x, u)), x, begin, end, 3000)
    along_tau = runge_kutta(straight, x / unit(begin)[0], unit(begin)[1], unit(end)[1], 1000)
    torch.testing.assert_close(along_u / unit(end)[0], along_tau, rtol=0, atol=1e-7)
    assert (along_tau - x / unit(begin)[0]).abs().max() > 0.3


@checks("eq-process-change")
@pytest.mark.parametrize("t", [1, 4, 8])
def test_a_state_in_the_other_unit_lies_on_the_straight_path(t):
    x0, eps = 2 * random(20, 10) - 1, 2 * random(20, 11) - 1
    alpha, sigma = float(SCHEDULE.alpha_bar[t].sqrt()), float((1 - SCHEDULE.alpha_bar[t]).sqrt())
    tau = sigma / (alpha + sigma)
    torch.testing.assert_close(q_sample(SCHEDULE, x0, t, eps) / (alpha + sigma), (1 - tau) * x0 + tau * eps, rtol=0, atol=1e-14)


@checks("eq-process-euler")
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_an_euler_step_on_the_straight_path_is_a_step_of_ddim(t, s):
    """The velocity from conditional means on the straight path, against the core's sampler with the core's denoiser."""
    weights, means, variances = zip(*BUMPS, strict=True)
    exact = GaussianMixture(weights, double(*means)[:, None], variances).denoiser(SCHEDULE)
    x = torch.linspace(-2, 2, 31, dtype=torch.float64)[:, None]

    def unit(t):
        alpha, sigma = SCHEDULE.alpha_bar[t].sqrt(), (1 - SCHEDULE.alpha_bar[t]).sqrt()
        return alpha + sigma, float(sigma / (alpha + sigma))

    (scale, tau), (scale_s, tau_s) = unit(t), unit(s)
    z = x / scale
    x0_hat = bumps(z, 1 - tau, tau)[1]
    z = z + (tau_s - tau) * ((z - (1 - tau) * x0_hat) / tau - x0_hat)
    step = final(ddim(exact, x, SCHEDULE, steps=[(t, s)]))
    torch.testing.assert_close(z * scale_s, step, rtol=0, atol=1e-12)
    assert float(gaussian_kl(step, double(1.0), x, double(1.0)).max()) > 1e-6  # it moves
