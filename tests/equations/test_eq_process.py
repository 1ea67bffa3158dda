"""The numbered equations of section 4.1, each computed by a second route."""

import math

import pytest
import torch
from bindings import checks
from short_chain import BETAS, NOISY, PAIRS, SCHEDULE, TRIPLES, double, random
from torch.distributions import Normal

from diffusion_core import Prediction, Schedule, q_posterior, q_sample
from diffusion_core.gaussian import posterior_variance
from diffusion_core.likelihood import vlb_prior, vlb_term

def kept(t, s=0):
    """The share of the variance that steps s + 1 .. t keep."""
    return math.prod(1 - b for b in BETAS[s:t])


def chain():
    """The chain run on unit impulses: x_t = start[t] x0 + sum_i weights[t, i] eps_i, by the definition of a step alone."""
    start, weights = [double(1.0)], [torch.zeros(8, dtype=torch.float64)]
    for t, b in enumerate(BETAS, 1):
        impulse = torch.zeros(8, dtype=torch.float64)
        impulse[t - 1] = math.sqrt(b)
        start.append(math.sqrt(1 - b) * start[-1])
        weights.append(math.sqrt(1 - b) * weights[-1] + impulse)
    return torch.cat(start), torch.stack(weights)


START, WEIGHTS = chain()
COVARIANCE = WEIGHTS @ WEIGHTS.T  # of x_0 .. x_8 given x0


@checks("eq-process-identity")
def test_both_factorisations_are_one_density():
    x, y, m = (4 * random(200, seed) - 2 for seed in (0, 1, 2))
    k, tau, sigma = (0.2 + 1.3 * random(200, seed) for seed in (3, 4, 5))
    omega2 = 1 / (1 / tau**2 + k**2 / sigma**2)
    mu = omega2 * (m / tau**2 + k * y / sigma**2)
    left = Normal(k * x, sigma).log_prob(y) + Normal(m, tau).log_prob(x)
    right = Normal(k * m, (k**2 * tau**2 + sigma**2).sqrt()).log_prob(y) + Normal(mu, omega2.sqrt()).log_prob(x)
    torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


@checks("eq-process-closed")
def test_closed_form_by_walking_a_density_over_a_grid():
    """Chapman and Kolmogorov's sum over all places in between, step by step; and the core's jump against the chain on impulses."""
    x0, grid = 0.8, torch.linspace(-7, 7, 2001, dtype=torch.float64)
    p = Normal(math.sqrt(1 - BETAS[0]) * x0, double(BETAS[0]).sqrt()).log_prob(grid).exp()
    for t in range(2, 9):
        b = BETAS[t - 1]
        p = Normal(math.sqrt(1 - b) * grid, double(b).sqrt()).log_prob(grid[:, None]).exp() @ p * (grid[1] - grid[0])
        closed = Normal(math.sqrt(kept(t)) * x0, double(1 - kept(t)).sqrt()).log_prob(grid).exp()
        torch.testing.assert_close(p, closed, rtol=0, atol=1e-11)
    for t in range(1, 9):
        jump = q_sample(SCHEDULE, double(1.0, 0.0), t, double(0.0, 1.0))
        torch.testing.assert_close(jump, torch.stack([START[t], COVARIANCE[t, t].sqrt()]), rtol=0, atol=1e-13)


@checks("eq-process-density")
def test_averages_over_the_density_are_averages_over_the_noise():
    """Left and middle integrated over x on a grid, with functions that see mean, spread and tilt; right, the normal density with L L^T."""
    L, mu = double([0.7, 0.2], [-0.4, 0.5]), double(0.3, -0.2)
    axis = torch.linspace(-6, 6, 601, dtype=torch.float64)
    eps = torch.cartesian_prod(axis, axis)
    weight = Normal(0.0, 1.0).log_prob(eps).sum(1).exp() * (axis[1] - axis[0]) ** 2
    x = eps  # the same grid, now of places
    solved = torch.linalg.solve(L, (x - mu).T).T
    first = Normal(0.0, 1.0).log_prob(solved).sum(1).exp() / torch.linalg.det(L).abs()
    shape, det = L @ L.T, torch.linalg.det(L @ L.T)
    second = torch.exp(-0.5 * ((x - mu) @ torch.linalg.inv(shape) * (x - mu)).sum(1)) / (2 * math.pi * det.sqrt())
    for f in (lambda x: x[:, 0], lambda x: x[:, 0] * x[:, 1], lambda x: x[:, 1] ** 2, lambda x: torch.cos(x[:, 0] + 2 * x[:, 1])):
        by_noise = float(weight @ f(mu + eps @ L.T))
        for density in (first, second):
            assert float(density @ f(x)) * float(axis[1] - axis[0]) ** 2 == pytest.approx(by_noise, abs=1e-7)


@checks("eq-process-noise")
@pytest.mark.parametrize("t", range(1, 9))
def test_the_noise_of_the_closed_form_is_a_sum_over_the_steps(t):
    written = [math.sqrt(kept(t) / kept(i) * BETAS[i - 1] / (1 - kept(t))) if i <= t else 0.0 for i in range(1, 9)]
    torch.testing.assert_close(WEIGHTS[t] / math.sqrt(1 - kept(t)), double(*written), rtol=0, atol=1e-13)
    assert sum(w**2 for w in written) == pytest.approx(1, abs=1e-13)  # standard normal at every time


@checks("eq-process-corr")
@pytest.mark.parametrize(("t", "s"), NOISY)
def test_noises_of_two_times_are_correlated(t, s):
    measured = COVARIANCE[t, s] / (COVARIANCE[t, t] * COVARIANCE[s, s]).sqrt()
    assert float(measured) == pytest.approx(float((SCHEDULE.snr(t) / SCHEDULE.snr(s)).sqrt()), abs=1e-13)


def regression(t, s, x0, x_t):
    """Mean and variance of x_s given x_t and x0, from the covariance of the chain."""
    slope = COVARIANCE[s, t] / COVARIANCE[t, t]
    return START[s] * x0 + slope * (x_t - START[t] * x0), COVARIANCE[s, s] - slope * COVARIANCE[s, t]


@checks("eq-process-posterior")
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_posterior_is_the_regression_of_the_chain(t, s):
    x0, x_t = 2 * random(5, 6) - 1, 2 * random(5, 7) - 1
    k, beta = math.sqrt(kept(t, s)), 1 - kept(t, s)
    mean = (math.sqrt(kept(s)) * beta * x0 + k * (1 - kept(s)) * x_t) / (1 - kept(t))
    variance = (1 - kept(s)) / (1 - kept(t)) * beta
    expected = regression(t, s, x0, x_t)
    for found in ((mean, double(variance)[0]), q_posterior(SCHEDULE, x0, x_t, t, s)):
        for got, want in zip(found, expected, strict=True):
            torch.testing.assert_close(got, want, rtol=0, atol=1e-13)


@checks("eq-process-mean-eps")
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_mean_told_by_the_noise(t, s):
    x0, bar = 2 * random(5, 8) - 1, 2 * random(5, 9) - 1
    x_t = math.sqrt(kept(t)) * x0 + math.sqrt(1 - kept(t)) * bar
    written = (x_t - (1 - kept(t, s)) / math.sqrt(1 - kept(t)) * bar) / math.sqrt(kept(t, s))
    torch.testing.assert_close(written, regression(t, s, x0, x_t)[0], rtol=0, atol=1e-12)


@checks("eq-process-compose")
@pytest.mark.parametrize(("r", "s", "t"), [(r, s, t) for r, s, t in TRIPLES if r > 0])
def test_detours_by_summing_over_the_place_in_between(r, s, t):
    x0, x_t = double(0.7), double(-0.9)
    grid = torch.linspace(-6, 6, 3001, dtype=torch.float64)
    mean, variance = q_posterior(SCHEDULE, x0, x_t, t, s)
    between = Normal(mean, variance.sqrt()).log_prob(grid).exp() * (grid[1] - grid[0])
    to = grid[::50]
    mean, variance = q_posterior(SCHEDULE, x0.expand(3001), grid, s, r)
    detour = Normal(mean, variance.sqrt()).log_prob(to[:, None]).exp() @ between
    mean, variance = q_posterior(SCHEDULE, x0, x_t, t, r)
    torch.testing.assert_close(detour, Normal(mean, variance.sqrt()).log_prob(to).exp(), rtol=0, atol=1e-8)


POINTS, SHARES = double(-0.9, 0.2, 0.8), double(0.3, 0.5, 0.2)
DOTS = SHARES @ POINTS**2 - (SHARES @ POINTS) ** 2  # their variance


def joint_of(t, s, points=POINTS, shares=SHARES, n=801):
    """Grids of x_s (n, 1) and x_t (1, n), and the joint density of the points noised to s and then to t, which sums to 1."""
    x_s, x_t = torch.linspace(-6, 6, n, dtype=torch.float64)[:, None], torch.linspace(-6.5, 6.5, n, dtype=torch.float64)[None]
    before = (shares * Normal(math.sqrt(kept(s)) * points, math.sqrt(1 - kept(s))).log_prob(x_s).exp()).sum(1, keepdim=True)
    p = before * Normal(math.sqrt(kept(t, s)) * x_s, math.sqrt(1 - kept(t, s))).log_prob(x_t).exp()
    return x_s, x_t, p / p.sum()


@checks("eq-process-best")
@pytest.mark.parametrize(("t", "s"), [(2, 1), (4, 2), (8, 3)])
def test_cost_of_a_gaussian_step_is_shape_plus_mean_plus_variance(t, s):
    x_s, x_t, p = joint_of(t, s)
    given = p / p.sum(0)
    mean = (given * x_s).sum(0)
    best = float((p * (x_s - mean) ** 2).sum())
    log_given = torch.log(given / (x_s[1] - x_s[0]))

    def cost(centre, variance):
        return float((p * (log_given - Normal(centre, math.sqrt(variance)).log_prob(x_s)).nan_to_num(neginf=0)).sum())

    shape = cost(mean, best)
    assert shape > 1e-3
    for variance, offset in ((0.6 * best, 0.0), (1.7 * best, 0.0), (best, 0.3), (0.8 * best, 0.2)):
        off = offset * torch.cos(x_t[0])
        r = best / variance
        expected = shape + float((p.sum(0) * off**2).sum()) / (2 * variance) + 0.5 * (r - 1 - math.log(r))
        assert cost(mean + off, variance) == pytest.approx(expected, abs=1e-9)
        assert cost(mean + off, variance) > shape + 1e-3


@checks("eq-process-gaussian-variance")
@pytest.mark.parametrize(("t", "s"), PAIRS)
@pytest.mark.parametrize("c2", [0.04, 0.25, 1.0, 3.0])
def test_variance_for_gaussian_data_from_the_inverse_covariance(t, s, c2):
    """The conditional variance is one over an element of the precision matrix of (x_s, x_t), whose covariance is that of the chain."""
    V = [float(START[i] ** 2 * c2 + COVARIANCE[i, i]) for i in (s, t)]
    across = float(START[s] * START[t] * c2 + COVARIANCE[s, t])
    precision = torch.linalg.inv(double([V[0], across], [across, V[1]]))
    assert (1 - kept(t, s)) * V[0] / V[1] == pytest.approx(1 / float(precision[0, 0]), rel=1e-10)


@checks("eq-process-gaussian-variance")
@pytest.mark.parametrize(("t", "s"), NOISY)
def test_its_two_ends_are_the_variances_of_ddpm(t, s):
    def written(c2):
        return (1 - kept(t, s)) * (kept(s) * c2 + 1 - kept(s)) / (kept(t) * c2 + 1 - kept(t))

    assert written(0.0) == pytest.approx(float(posterior_variance(SCHEDULE, t, s)), rel=1e-12)
    assert written(1.0) == pytest.approx(1 - float(SCHEDULE.alpha_bar[t] / SCHEDULE.alpha_bar[s]), rel=1e-12)


@checks("eq-process-between")
@pytest.mark.parametrize(("t", "s"), [(2, 1), (4, 2), (8, 3), (8, 7)])
@pytest.mark.parametrize("scale", [0.3, 1.0, 1.4])
def test_the_best_variance_lies_between(t, s, scale):
    """By a grid over x_s and x_t, which knows nothing of x0; strictly, since three points are neither one point nor Gaussian."""
    c2 = float(DOTS) * scale**2
    assert c2 <= 1
    x_s, _, p = joint_of(t, s, scale * POINTS)
    star = float((p * (x_s - (p * x_s).sum(0) / p.sum(0)) ** 2).sum())
    beta = 1 - kept(t, s)
    linear = beta * (kept(s) * c2 + 1 - kept(s)) / (kept(t) * c2 + 1 - kept(t))
    assert float(posterior_variance(SCHEDULE, t, s)) < star - 1e-5
    assert star < linear - 1e-9 and linear < beta - 1e-9


@checks("eq-process-between")
def test_it_needs_data_of_variance_at_most_one():
    x_s, _, p = joint_of(8, 3, 3 * POINTS)
    assert 9 * float(DOTS) > 1
    assert float((p * (x_s - (p * x_s).sum(0) / p.sum(0)) ** 2).sum()) > 1.2 * (1 - kept(8, 3))


def gap_as_written(schedule, c2, variance):
    """Plain numbers: KL of the ends and the sum over steps."""
    a = schedule.alpha_bar.tolist()
    V = [x * c2 + 1 - x for x in a]
    total = V[-1] - 1 - math.log(V[-1])
    for t in range(1, len(a)):
        k = max(t, 2) if variance == "small" else t  # fixed-small takes the variance of t = 2 at t = 1
        used = 1 - a[k] / a[k - 1]
        if variance == "small":
            used *= (1 - a[k - 1]) / (1 - a[k])
        r = (1 - a[t] / a[t - 1]) * V[t - 1] / V[t] / used
        total += r - 1 - math.log(r)
    return total / 2


@checks("eq-process-gap")
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("c2", [0.09, 0.25, 1.0, 2.0])
@pytest.mark.parametrize("schedule", [SCHEDULE, Schedule.linear(400), Schedule.cosine(30)], ids=["uneven", "linear", "cosine"])
def test_gap_is_the_bound_minus_the_entropy(schedule, c2, variance):
    """The core's terms at x0 and eps of +-1 standard deviation, which average every square exactly."""
    T, signs = len(schedule), double([1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0])
    t, x0, eps = torch.arange(1, T + 1).repeat_interleave(4), (math.sqrt(c2) * signs[:, :1]).repeat(T, 1), signs[:, 1:].repeat(T, 1)
    x_t, a = q_sample(schedule, x0, t, eps), schedule.alpha_bar[t][:, None]
    prediction = Prediction(x_t, schedule.at(t), "x0", a.sqrt() * c2 / (a * c2 + 1 - a) * x_t)
    bound = vlb_prior(schedule, x0[:4]).mean() + vlb_term(prediction, schedule, x0, t, variance=variance, bins=None).sum() / 4
    entropy = 0.5 * math.log(2 * math.pi * math.e * c2)
    assert float(bound) - entropy == pytest.approx(gap_as_written(schedule, c2, variance), abs=1e-9)


@checks("eq-process-rate")
@pytest.mark.parametrize("c2", [0.0625, 0.25, 4.0])
def test_the_gap_of_the_large_variance_falls_as_one_over_T(c2):
    """T times the gap, extrapolated from two lengths, against Simpson's rule with V' by differences; relative error below 1e-3."""
    times = [n * gap_as_written(Schedule.linear(n), c2, "large") for n in (10_000, 20_000)]
    u = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    V = 1 + (c2 - 1) * torch.exp(-(0.1 * u + 9.95 * u**2))
    h = float(u[1])
    square = ((V[2:] - V[:-2]) / (2 * h) / V[1:-1]) ** 2
    integral = float((square[::2] * 4).sum() + (square[1::2] * 2).sum()) * h / 3 + h / 3 * float((0.1 * (1 - c2) / c2) ** 2)
    assert 2 * times[1] - times[0] == pytest.approx(integral / 4, rel=1e-3)


@checks("eq-process-level")
@pytest.mark.parametrize("c2", [0.0625, 0.25, 4.0])
def test_the_gap_of_the_small_variance_levels_off(c2):
    """At T = 10^6, where less than 1e-3 is left of the way to the limit; the costs of t >= 2 by a sum with an Euler-Maclaurin rest."""
    n = torch.arange(1, 100_001, dtype=torch.float64)
    rest = 1 / (2 * 100_001)
    series = float((1 / n - torch.log1p(1 / n)).sum()) + rest
    assert series == pytest.approx(0.5772156649, abs=1e-9)
    schedule = Schedule.linear(1_000_000)
    a = schedule.alpha_bar
    V, t = a * c2 + 1 - a, torch.arange(2, 1_000_001)
    used = posterior_variance(schedule, t, t - 1)
    r = schedule.betas[1:] * V[:-1] / V[1:] / torch.cat([used[:1], used])
    gap = 0.5 * float((r - 1 - r.log()).sum() + V[-1] - 1 - V[-1].log())
    assert gap == pytest.approx(0.5 * (series + 1 - math.log(2)), abs=1e-3)


@checks("eq-process-limit")
def test_the_table_approaches_the_exponential():
    """What is left after the two integrals, times T^2, stays constant from T = 1000 to 16000."""
    first, second = 0.1 + 19.9 / 2, 0.1**2 + 0.1 * 19.9 + 19.9**2 / 3
    left = []
    for n in (1000, 4000, 16_000):
        log_end = float(torch.log1p(-Schedule.linear(n).betas[1:]).sum())
        left.append(n**2 * (log_end + first + second / (2 * n)))
    assert left[1] == pytest.approx(left[2], rel=0.02) and left[0] == pytest.approx(left[1], rel=0.05)
    assert abs(left[2]) < 1000
