"""The numbered equations of section 3.2 (DDIM), each computed by a second route."""

import math

import pytest
import torch
from bindings import checks
from torch.distributions import Normal

from diffusion_core import GaussianMixture, Schedule, ddim, ddpm, final, q_posterior, q_sample, timesteps
from diffusion_core.denoisers import Denoiser, FunctionDenoiser
from diffusion_core.gaussian import Prediction

SCHEDULE = Schedule.cosine(1000)
A = SCHEDULE.alpha_bar
PAIRS = [(1000, 999), (1000, 400), (700, 650), (500, 100), (300, 1), (2, 1)]
ETAS = [0.0, 0.2, 0.5, 1.0]
WEIGHTS, CENTRES = torch.tensor([[0.2, 0.3, 0.5], [-1.0, 0.0, 1.0]], dtype=torch.float64)
SPREAD = 0.3
MIXTURE = GaussianMixture(WEIGHTS, CENTRES[:, None], torch.full_like(WEIGHTS, SPREAD**2))


def sigma(t: int, s: int, eta: float) -> float:
    """The definition of eta, written out as in the notebook."""
    return eta * math.sqrt((1 - A[s]) / (1 - A[t]) * (1 - A[t] / A[s]))


def family(x_t, x0, t: int, s: int, sd: float) -> Normal:
    """q_sigma(x_s | x_t, x_0), written out as in the notebook."""
    noise = (x_t - A[t].sqrt() * x0) / (1 - A[t]).sqrt()
    mean = A[s].sqrt() * x0 + (1 - A[s] - sd**2).sqrt() * noise
    return Normal(mean, torch.full_like(mean, sd))


def k_weight(t: int, s: int, eta: float) -> float:
    return float(A[s].sqrt() - (1 - A[s] - sigma(t, s, eta) ** 2).sqrt() * (A[t] / (1 - A[t])).sqrt())


def known(value: float) -> FunctionDenoiser:
    """The denoiser of data that are one point."""
    return FunctionDenoiser(SCHEDULE, lambda x, t, cond: Prediction(x, SCHEDULE.at(t), "x0", torch.full_like(x, value)))


@checks("eq-ddim-marginal")
@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_marginals_by_quadrature_for_any_sigma(share):
    """sigma^2 is any share of 1 - alpha_bar_s, not only those of some eta; three jumps in a row on a grid."""
    x0, grid = 0.7, torch.linspace(-8, 8, 1001, dtype=torch.float64)
    p = Normal(A[900].sqrt() * x0, (1 - A[900]).sqrt()).log_prob(grid).exp()
    for t, s in [(900, 600), (600, 550), (550, 200)]:
        kernel = family(grid, torch.tensor(x0, dtype=torch.float64), t, s, math.sqrt(share * (1 - A[s])))
        p = kernel.log_prob(grid[:, None]).clamp(min=-100).exp() @ p * (grid[1] - grid[0])
        torch.testing.assert_close(p, Normal(A[s].sqrt() * x0, (1 - A[s]).sqrt()).log_prob(grid).exp(), rtol=0, atol=1e-9)


@checks("eq-ddim-marginal")
def test_marginals_at_sigma_zero_by_transport():
    """Without noise the step is a map: it must carry the quantiles of one marginal to those of the other."""
    u = torch.linspace(0.001, 0.999, 99, dtype=torch.float64)
    x0 = torch.tensor(0.7, dtype=torch.float64)
    for t, s in PAIRS:
        x_t, x_s = (Normal(A[i].sqrt() * x0, (1 - A[i]).sqrt()).icdf(u) for i in (t, s))
        torch.testing.assert_close(family(x_t, x0, t, s, 1e-12).mean, x_s, rtol=0, atol=1e-9)


@checks("eq-ddim-eta-one")
@pytest.mark.parametrize(("t", "s"), PAIRS)
def test_eta_one_by_conditioning_the_forward_chain(t, s):
    """Given x_0, x_s and x_t are jointly Gaussian under DDPM's chain: regress x_s on x_t."""
    covariance = (A[t] / A[s]).sqrt() * (1 - A[s])
    slope, rest = covariance / (1 - A[t]), (1 - A[s]) - covariance**2 / (1 - A[t])
    left = (1 - A[s] - sigma(t, s, 1.0) ** 2).sqrt()
    right = (A[t] / A[s]).sqrt() * (1 - A[s]) / (1 - A[t]).sqrt()
    torch.testing.assert_close(left, right, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(left / (1 - A[t]).sqrt(), slope, rtol=1e-7, atol=1e-9)
    assert sigma(t, s, 1.0) ** 2 == pytest.approx(float(rest), rel=1e-7)


@checks("eq-ddim-eta-one")
def test_eta_one_is_ancestral_sampling_draw_for_draw():
    x = torch.randn(200, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for n in (3, 30):
        ours = final(ddim(MIXTURE.denoiser(SCHEDULE), x, SCHEDULE, steps=n, eta=1.0, generator=torch.Generator().manual_seed(1)))
        theirs = final(ddpm(MIXTURE.denoiser(SCHEDULE), x, SCHEDULE, steps=n, generator=torch.Generator().manual_seed(1)))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-11)


@checks("eq-ddim-step")
@pytest.mark.parametrize("eta", ETAS)
def test_the_core_takes_the_step_as_written(eta):
    """In plain floating-point numbers, with the prediction of a mixture, and z drawn from an equal generator."""
    oracle, x_t = MIXTURE.denoiser(SCHEDULE), torch.tensor([[1.3]], dtype=torch.float64)
    for t, s in PAIRS:
        steps = ddim(oracle, x_t, SCHEDULE, steps=[(t, s), (s, 0)], eta=eta, generator=torch.Generator().manual_seed(2))
        z = float(torch.randn(1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
        x0, a_t, a_s = float(oracle(x_t, t).x0), float(A[t]), float(A[s])
        eps = (1.3 - math.sqrt(a_t) * x0) / math.sqrt(1 - a_t)
        written = math.sqrt(a_s) * x0 + math.sqrt(1 - a_s - sigma(t, s, eta) ** 2) * eps + sigma(t, s, eta) * z
        assert float(next(steps).x) == pytest.approx(written, abs=1e-9)


@checks("eq-ddim-step")
@pytest.mark.parametrize("eta", ETAS)
def test_a_step_that_knows_x0_is_exact_in_any_jump(eta):
    """Monte Carlo with 50,000 paths: mean and variance within 4.5 standard errors of q(x_s | x_0)."""
    n, generator = 50_000, torch.Generator().manual_seed(3)
    x0 = torch.full((n, 1), 0.6, dtype=torch.float64)
    for t, s in [(1000, 400), (700, 699), (500, 20)]:
        x_t = q_sample(SCHEDULE, x0, t, torch.randn(n, 1, dtype=torch.float64, generator=generator))
        x_s = next(ddim(known(0.6), x_t, SCHEDULE, steps=[(t, s), (s, 0)], eta=eta, generator=generator)).x
        variance = float(1 - A[s])
        assert float((x_s - A[s].sqrt() * x0).mean()) == pytest.approx(0, abs=4.5 * math.sqrt(variance / n))
        assert float(x_s.var()) == pytest.approx(variance, rel=4.5 * math.sqrt(2 / n))


@checks("eq-ddim-kl")
@pytest.mark.parametrize("eta", [0.2, 0.5, 1.0])
def test_kl_of_a_step_by_quadrature(eta):
    x0, guess, x_t = (torch.tensor(value, dtype=torch.float64) for value in (0.3, -0.5, 0.8))
    for t, s in [(900, 500), (500, 400), (300, 20)]:
        sd = sigma(t, s, eta)
        q, p = family(x_t, x0, t, s, sd), family(x_t, guess, t, s, sd)
        grid = q.mean + sd * torch.linspace(-9, 9, 20_001, dtype=torch.float64)
        kl = torch.trapezoid(q.log_prob(grid).exp() * (q.log_prob(grid) - p.log_prob(grid)), grid)
        assert float(kl) == pytest.approx(k_weight(t, s, eta) ** 2 / (2 * sd**2) * float(x0 - guess) ** 2, rel=1e-8)


def eps_by_autograd(x: torch.Tensor, t: int) -> torch.Tensor:
    x = x.clone().requires_grad_()
    (score,) = torch.autograd.grad(MIXTURE.log_prob(SCHEDULE, x, t).sum(), x)
    return -(1 - A[t]).sqrt() * score


@checks("eq-ddim-euler")
def test_a_deterministic_step_is_an_euler_step():
    """The core's step against the Euler step, with eps from automatic differentiation of log p_t."""
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    rho = ((1 - A) / A).sqrt()
    for t, s in [(900, 500), (500, 400), (300, 20), (300, 0)]:
        step = next(ddim(MIXTURE.denoiser(SCHEDULE), x, SCHEDULE, steps=[(t, s)] + ([(s, 0)] if s else []))).x
        euler = x / A[t].sqrt() + (rho[s] - rho[t]) * eps_by_autograd(x, t)
        torch.testing.assert_close(step / A[s].sqrt(), euler, rtol=0, atol=1e-10)


def log_density(x: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
    """log p_rho(x) of x = x_0 + rho eps, from scratch."""
    parts = [Normal(c, (SPREAD**2 + rho**2).sqrt()).log_prob(x) + w.log() for w, c in zip(WEIGHTS, CENTRES, strict=True)]
    return torch.logsumexp(torch.stack(parts), 0)


def level(x: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
    """The probability below x under p_rho."""
    return sum(w * torch.special.ndtr((x - c) / (SPREAD**2 + rho**2).sqrt()) for w, c in zip(WEIGHTS, CENTRES, strict=True))


@checks("eq-ddim-ode")
def test_the_flow_keeps_every_quantile():
    """Runge-Kutta of order 4 along d x / d rho = -rho grad log p_rho; the probability below each path must stay what it was."""

    def speed(x, rho):
        x = x.clone().requires_grad_()
        return -rho * torch.autograd.grad(log_density(x, rho).sum(), x)[0]

    rhos = torch.logspace(math.log10(20), math.log10(0.02), 120, dtype=torch.float64)
    x = rhos[0] * torch.linspace(-2, 2, 21, dtype=torch.float64)
    before = level(x, rhos[0])
    for rho, after in zip(rhos, rhos[1:], strict=False):
        h = after - rho
        k1 = speed(x, rho)
        k2 = speed(x + h / 2 * k1, rho + h / 2)
        k3 = speed(x + h / 2 * k2, rho + h / 2)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + speed(x + h * k3, after))
    torch.testing.assert_close(level(x, rhos[-1]), before, rtol=0, atol=1e-6)


@checks("eq-ddim-ode")
def test_the_speed_of_the_flow_is_eps():
    x = torch.linspace(-2, 2, 41, dtype=torch.float64)[:, None]
    for t in (20, 300, 800):
        rho, scaled = ((1 - A[t]) / A[t]).sqrt(), (x / A[t].sqrt()).requires_grad_()
        (score,) = torch.autograd.grad(log_density(scaled, rho).sum(), scaled)
        torch.testing.assert_close(MIXTURE.denoiser(SCHEDULE)(x, t).eps, -rho * score, rtol=0, atol=1e-10)


@checks("eq-ddim-lost")
@pytest.mark.parametrize("eta", [0.2, 0.5, 1.0])
def test_what_one_step_loses_by_quadrature(eta):
    """Left: moments of q_sigma(x_s | x_t, x_0) mixed over p(x_0 | x_t). Right: Cov[x_0 | x_t] by Tweedie's second-order formula."""
    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    for t, s in [(900, 500), (500, 400), (300, 20), (500, 499)]:
        x_t = torch.tensor([[0.4]], dtype=torch.float64)
        joint = MIXTURE.log_prob(SCHEDULE, grid[:, None], 0) + Normal(A[t].sqrt() * grid, (1 - A[t]).sqrt()).log_prob(x_t[0])
        p = torch.softmax(joint, 0)
        centre = family(x_t[0], grid, t, s, sigma(t, s, eta)).mean
        mean = p @ centre
        left = sigma(t, s, eta) ** 2 + p @ (centre - mean) ** 2
        point = x_t.clone().requires_grad_()
        (slope,) = torch.autograd.grad(MIXTURE.log_prob(SCHEDULE, point, t).sum(), point, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), point)
        doubt = (1 - A[t]) / A[t] * (1 + (1 - A[t]) * curvature)
        assert float(left) == pytest.approx(sigma(t, s, eta) ** 2 + k_weight(t, s, eta) ** 2 * float(doubt), rel=1e-7)
        # The sampler's mean is right: the whole loss is in the covariance.
        noiseless = family(x_t, MIXTURE.denoiser(SCHEDULE)(x_t, t).x0, t, s, sigma(t, s, eta)).mean
        assert float(noiseless) == pytest.approx(float(mean), abs=1e-8)


def gaussian(v: float) -> Denoiser:
    """The exact denoiser of data N(0, v)."""
    one = torch.ones(1, 1, dtype=torch.float64)
    return GaussianMixture(one[0], 0 * one, v * one[0]).denoiser(SCHEDULE)


@checks("eq-ddim-angle")
@pytest.mark.parametrize("v", [0.04, 0.25, 1.0, 3.0])
def test_kept_variance_is_a_product_of_cosines(v):
    """The sampler is linear on N(0, v): what becomes of x = 1, squared, is the kept variance."""
    denoiser = gaussian(v)
    for n in (1, 6, 20, 61):
        start = (A[1000] * v + 1 - A[1000]).sqrt().reshape(1, 1)
        angles = [math.atan2(math.sqrt(1 - A[t]), math.sqrt(A[t] * v)) for t in range(1001)]
        product = v * math.prod(math.cos(angles[t] - angles[s]) ** 2 for t, s in timesteps(1000, n))
        assert float(final(ddim(denoiser, start, SCHEDULE, steps=n)) ** 2) == pytest.approx(product, rel=1e-10, abs=1e-12)


@checks("eq-ddim-angle")
def test_the_published_figure_and_the_limit_of_equal_angles():
    """N(0, .25), cosine, 20 steps: error -.036; n equal angles lose pi^2 / 4n to first order."""
    denoiser = gaussian(0.25)
    one = torch.ones(1, 1, dtype=torch.float64)
    assert float(final(ddim(denoiser, one, SCHEDULE, steps=20)) ** 2) - 0.25 == pytest.approx(-0.0365, abs=1e-4)
    losses = [n * (1 - math.cos(math.pi / (2 * n)) ** (2 * n)) for n in (100, 10_000)]
    assert losses[1] == pytest.approx(math.pi**2 / 4, rel=2e-4)
    assert abs(losses[1] - math.pi**2 / 4) < abs(losses[0] - math.pi**2 / 4)


@checks("eq-ddim-sigma-hat")
@pytest.mark.parametrize(("t", "s"), [(900, 600), (500, 400), (200, 10), (500, 499)])
def test_the_larger_variance_leaves_too_much(t, s):
    """Exactly, from the posterior's weight on x_t, and by 50,000 draws of the core's sampler."""
    stated = float((1 - A[s]) + (1 - A[t] / A[s]) ** 2 * A[s] / (1 - A[t]))
    zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    weight, _ = q_posterior(SCHEDULE, zero, one, t, s)
    assert float(weight**2 * (1 - A[t]) + (1 - A[t] / A[s])) == pytest.approx(stated, rel=1e-10)
    n, generator = 50_000, torch.Generator().manual_seed(4)
    x_t = (1 - A[t]).sqrt() * torch.randn(n, 1, dtype=torch.float64, generator=generator)
    x_s = next(ddpm(known(0.0), x_t, SCHEDULE, steps=[(t, s), (s, 0)], variance="large", generator=generator)).x
    assert float(x_s.var()) == pytest.approx(stated, rel=4.5 * math.sqrt(2 / n))
    assert stated > float(1 - A[s])
