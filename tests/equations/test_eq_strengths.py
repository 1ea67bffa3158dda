"""The numbered equations of section 1.2 (strengths), each computed by a second route."""

import pytest
import torch
from bindings import checks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffusion_core import GaussianMixture, Schedule, UNet, UNetConfig, zoo
from diffusion_core.evaluation import Statistics, frechet
from diffusion_core.explorers.copying import empirical_denoiser

SCHEDULE = Schedule.cosine(1000)
A = SCHEDULE.alpha_bar


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def covariance(d, seed):
    m = torch.randn(d, d + 2, dtype=torch.float64, generator=seeded(seed))
    return m @ m.T / d


def power(C, p):
    values, vectors = torch.linalg.eigh(C)
    return vectors * values**p @ vectors.T


@checks("eq-strengths-frechet")
@pytest.mark.parametrize("d, seed", [(1, 0), (3, 1), (6, 2)])
def test_frechet_is_the_cost_of_the_best_plan(d, seed):
    """The affine map m_b + K (a - m_a) has the right image and the cost of the formula; no joint covariance costs less (dual: singular values)."""
    P, Q = covariance(d, seed), covariance(d, seed + 10)
    m = torch.randn(2, d, dtype=torch.float64, generator=seeded(seed + 20))
    value = frechet(Statistics(m[0], P), Statistics(m[1], Q))
    r = power(P, 0.5)
    K = torch.linalg.inv(r) @ power(r @ Q @ r, 0.5) @ torch.linalg.inv(r)
    torch.testing.assert_close(K @ P @ K.T, Q, rtol=0, atol=1e-8)
    gap = K - torch.eye(d)
    cost = float(((m[1] - m[0]) ** 2).sum() + (gap @ P @ gap.T).trace())
    assert cost == pytest.approx(value, abs=1e-8)
    bound = ((m[0] - m[1]) ** 2).sum() + P.trace() + Q.trace() - 2 * torch.linalg.svdvals(power(Q, 0.5) @ r).sum()
    assert float(bound) == pytest.approx(value, abs=1e-8)


@checks("eq-strengths-frechet")
def test_no_random_plan_costs_less_and_one_rotation_attains_it():
    P, Q = covariance(3, 5), covariance(3, 6)
    O = torch.linalg.qr(torch.randn(2000, 3, 3, dtype=torch.float64, generator=seeded(7))).Q
    costs = P.trace() + Q.trace() - 2 * (power(P, 0.5) @ O @ power(Q, 0.5)).diagonal(dim1=1, dim2=2).sum(1)
    value = frechet(Statistics(torch.zeros(3), P), Statistics(torch.zeros(3), Q))
    U, _, V = torch.linalg.svd(power(Q, 0.5) @ power(P, 0.5))
    attained = P.trace() + Q.trace() - 2 * (power(P, 0.5) @ (U @ V).mT @ power(Q, 0.5)).trace()
    assert costs.min() > value and float(attained) == pytest.approx(value, abs=1e-8)


@checks("eq-strengths-floor")
@pytest.mark.parametrize("spread", [[1.0, 1.0, 1.0, 1.0], [4.0, 1.0, 0.1, 0.01]])
def test_floor_of_gaussian_features_by_simulation(spread):
    lam, n, runs = torch.tensor(spread, dtype=torch.float64), 4000, 1500
    formula = float(1.25 * lam.sum() + 0.5 * (lam[:, None] * lam / (lam[:, None] + lam)).sum()) / n
    g, reference = seeded(1), Statistics(torch.zeros(4), torch.diag(lam))
    found = torch.tensor([frechet(torch.randn(n, 4, dtype=torch.float64, generator=g) * lam.sqrt(), reference) for _ in range(runs)])
    error = float(found.std()) / runs**0.5
    assert abs(float(found.mean()) - formula) < 4 * error and error < 0.025 * formula


@checks("eq-strengths-whitening")
def test_the_flow_of_gaussian_data_by_runge_kutta():
    """d xbar / d rho = rho (C + rho^2 I)^-1 (xbar - m), from the mixture's score, in 4,000 steps of order four."""
    C, m = covariance(3, 3), torch.tensor([0.3, -0.5, 0.1], dtype=torch.float64)
    x0 = torch.randn(5, 3, dtype=torch.float64, generator=seeded(4))
    gm = GaussianMixture([1.0], m[None], C[None])
    t = 900

    def slope(x, rho):
        """-rho times the score of x0 + rho eps: by automatic differentiation of its density, not by the formula under test."""
        x = x.requires_grad_(True)
        log_p = torch.distributions.MultivariateNormal(m, C + rho**2 * torch.eye(3)).log_prob(x).sum()
        return -rho * torch.autograd.grad(log_p, x)[0]

    x, grid = x0.clone(), torch.linspace(0, float(((1 - A[t]) / A[t]).sqrt()), 401, dtype=torch.float64)
    for low, high in zip(grid, grid[1:], strict=False):
        h, mid = high - low, (low + high) / 2
        k1 = slope(x.detach(), low)
        k2 = slope((x + h / 2 * k1).detach(), mid)
        k3 = slope((x + h / 2 * k2).detach(), mid)
        k4 = slope((x + h * k3).detach(), high)
        x = (x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)).detach()
    C_t = A[t] * C + (1 - A[t]) * torch.eye(3)
    formula = A[t].sqrt() * m + (x0 - m) @ (power(C_t, 0.5) @ power(C, -0.5)).T
    torch.testing.assert_close(x * A[t].sqrt(), formula, rtol=0, atol=1e-6)
    near = gm.denoiser(SCHEDULE)(formula, t)  # and the book's denoiser sees the same point at the same place in the bell
    whitened = ((formula - A[t].sqrt() * m) @ power(C_t, -0.5)).pow(2).sum(1)
    torch.testing.assert_close(whitened, ((x0 - m) @ power(C, -0.5)).pow(2).sum(1), rtol=0, atol=1e-9)
    assert bool(near.x0.isfinite().all())


@checks("eq-strengths-lerp")
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_length_of_mixed_noise(share):
    n, d = 20_000, 30
    x, y = torch.randn(2, n, d, dtype=torch.float64, generator=seeded(8))
    found = ((1 - share) * x + share * y).pow(2).sum(1)
    expected = ((1 - share) ** 2 + share**2) * d
    assert abs(float(found.mean()) - expected) < 4.5 * float(found.std()) / n**0.5 < 0.01 * d


@checks("eq-strengths-flops")
@pytest.mark.parametrize("channels", [8, 24])
def test_backward_costs_twice_forward(channels):
    torch.manual_seed(0)
    net = UNet(UNetConfig(patch=2, channels=channels, groups=4, head_channels=None, heads=1))
    counts = []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            out = net(torch.zeros(2, 1, 28, 28), torch.tensor([0, 0]))
            if backward:
                out.sum().backward()
        counts.append(counter.get_total_flops())
    assert counts[1] / counts[0] == pytest.approx(3, rel=0.03)
    conv = net.middle[0].block.conv1  # what the counter counts, by hand: 2 operations a multiplication-addition
    with FlopCounterMode(display=False) as counter:
        conv(torch.zeros(1, conv.in_channels, 7, 7))
    assert counter.get_total_flops() == 2 * 49 * 9 * conv.in_channels * conv.out_channels


def test_the_tables_say_what_was_trained():
    widths = zoo.tables("scaling")["widths"]
    assert len(widths) >= 5 and all(len(w["log"]) >= 5 for w in widths)
    for w in widths:
        net = UNet(UNetConfig(patch=2, channels=w["channels"], groups=4, head_channels=None, heads=1, classes=10))
        assert sum(p.numel() for p in net.parameters()) == w["parameters"]


@checks("eq-strengths-empirical")
@pytest.mark.parametrize("t", [40, 400, 950])
def test_the_perfect_denoiser_is_tweedies_formula_on_the_points(t):
    """(x + sigma^2 grad log p_t) / alpha with the density of N noised points written out and differentiated automatically."""
    y = torch.rand(7, 5, dtype=torch.float64, generator=seeded(9)) * 2 - 1
    x = (A[t].sqrt() * y[:3] + (1 - A[t]).sqrt() * torch.randn(3, 5, dtype=torch.float64, generator=seeded(10))).requires_grad_(True)
    parts = torch.distributions.Normal(A[t].sqrt() * y, (1 - A[t]).sqrt()).log_prob(x[:, None]).sum(-1)
    score = torch.autograd.grad(torch.logsumexp(parts, 1).sum(), x)[0]
    expected = (x + (1 - A[t]) * score) / A[t].sqrt()
    torch.testing.assert_close(empirical_denoiser(y, SCHEDULE)(x.detach(), t).x0, expected.detach(), rtol=0, atol=1e-8)


@checks("eq-strengths-best")
@pytest.mark.parametrize("guess", [lambda x: 0 * x, lambda x: x.clamp(-1, 1), lambda x: 1.3 * x + 0.2], ids=["zero", "clamped", "affine"])
@pytest.mark.parametrize("t", [200, 500, 800])
def test_loss_splits_into_the_perfect_loss_and_the_distance_from_it(guess, t):
    """Three training points on a line, by quadrature over x_t for each of them."""
    y, root, sd = torch.tensor([-1.0, 0.1, 0.8], dtype=torch.float64)[:, None], A[t].sqrt(), (1 - A[t]).sqrt()
    x = torch.linspace(-9, 9, 9001, dtype=torch.float64)
    p = torch.distributions.Normal(root * y, sd).log_prob(x).exp() * (x[1] - x[0]) / 3  # (3, 9001): joint of point and x_t
    best = empirical_denoiser(y, SCHEDULE)(x[:, None], t).x0[:, 0]
    left, right = ((p * (y - f) ** 2).sum() for f in (guess(x), best))
    torch.testing.assert_close(left, right + (p * (guess(x) - best) ** 2).sum(), rtol=0, atol=1e-10)
