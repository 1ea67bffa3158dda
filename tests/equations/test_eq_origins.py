"""The numbered equations of section 1.1 (origins), each computed by a second route."""

import math

import pytest
import torch
from bindings import checks

from diffusion_core import GaussianMixture, Schedule, q_sample

GRID = torch.linspace(-9, 9, 3601, dtype=torch.float64)
DX = float(GRID[1] - GRID[0])
WEIGHTS, CENTRES, SPREADS = torch.tensor([[0.3, 0.7], [-1.2, 0.9], [0.05, 0.12]], dtype=torch.float64)


def gauss(x, mean, variance):
    variance = torch.as_tensor(variance, dtype=torch.float64)
    return torch.exp(-((x - mean) ** 2) / (2 * variance)) / (2 * math.pi * variance).sqrt()


def p(x, h, kappa=1.0):
    """Density at x (N,) of the mixture after the time h, a tensor of shape () or (N, 1), in a trap of stiffness kappa."""
    keep = (-kappa * h).exp()
    return (WEIGHTS * gauss(x[:, None], keep * CENTRES, keep**2 * SPREADS + (1 - keep**2) / kappa)).sum(1)


def derivative(y, x):
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


def rate(f, x, h):
    """df/dh at the number h, shape (N,), of an f(x (N,), h (N, 1)) that acts on each row alone."""
    h = torch.full((len(x), 1), h, dtype=torch.float64).requires_grad_()
    return derivative(f(x.detach(), h), h)[:, 0].detach()


@checks("eq-origins-ou")
@pytest.mark.parametrize(("kappa", "h"), [(0.5, 0.3), (1.0, 1.0), (3.0, 0.7)])
def test_exact_law_solves_the_equations_of_motion(kappa, h):
    """The moments of dx = -kappa x dh + sqrt(2) dW obey m' = -kappa m and v' = 2 - 2 kappa v: solved here by Runge-Kutta steps."""
    m, v, n = 1.7, 0.0, 2000
    dh = h / n
    for _ in range(n):
        slope = lambda m, v: (-kappa * m, 2 - 2 * kappa * v)
        k1 = slope(m, v)
        k2 = slope(m + dh / 2 * k1[0], v + dh / 2 * k1[1])
        m, v = m + dh * k2[0], v + dh * k2[1]
    assert math.exp(-kappa * h) * 1.7 == pytest.approx(m, abs=1e-6)
    assert (1 - math.exp(-2 * kappa * h)) / kappa == pytest.approx(v, abs=1e-6)


@checks("eq-origins-ou")
def test_the_law_is_gaussian_and_solves_the_fokker_planck_equation():
    x = torch.linspace(-2, 3, 101, dtype=torch.float64).requires_grad_()
    kappa = 1.8
    law = lambda x, h: gauss(x[:, None], (-kappa * h).exp() * 1.2, (1 - (-2 * kappa * h).exp()) / kappa)[:, 0]
    h = torch.tensor(0.4, dtype=torch.float64)
    right = derivative(kappa * x * law(x, h), x) + derivative(derivative(law(x, h), x), x)
    torch.testing.assert_close(rate(law, x, 0.4), right.detach(), rtol=0, atol=1e-9)


@checks("eq-origins-ou")
def test_a_trap_of_stiffness_one_is_the_forward_process():
    schedule, eps = Schedule.linear(1000), torch.tensor([[0.7]], dtype=torch.float64)
    h = -0.5 * math.log(float(schedule.alpha_bar[300]))
    x0 = torch.tensor([[1.3]], dtype=torch.float64)
    ours = math.exp(-h) * 1.3 + math.sqrt(1 - math.exp(-2 * h)) * 0.7
    assert float(q_sample(schedule, x0, 300, eps)) == pytest.approx(ours, abs=1e-12)


@checks("eq-origins-free-energy")
@pytest.mark.parametrize("kappa", [0.5, 1.0, 4.0])
def test_free_energy_above_equilibrium_is_a_divergence(kappa):
    """Quadrature of both sides; the divergence from log ratios of normalised densities, the free energies from energy and entropy."""
    density, U = p(GRID, torch.tensor(0.2, dtype=torch.float64), kappa), kappa * GRID**2 / 2
    Z = math.sqrt(2 * math.pi / kappa)
    F = float((density * U + torch.xlogy(density, density)).sum()) * DX
    log_pi = -0.5 * kappa * GRID**2 + 0.5 * math.log(kappa / (2 * math.pi))
    kl = float((torch.xlogy(density, density) - density * log_pi).sum()) * DX
    assert F + math.log(Z) == pytest.approx(kl, abs=1e-9) and kl > 0.01
    pi = log_pi.exp()
    assert float((pi * U + torch.xlogy(pi, pi)).sum()) * DX == pytest.approx(-math.log(Z), abs=1e-9)


@checks("eq-origins-dissipation")
@pytest.mark.parametrize(("kappa", "h"), [(1.0, 0.05), (1.0, 0.6), (2.5, 0.2)])
def test_divergence_falls_at_the_rate_of_the_scores(kappa, h):
    log_pi = -0.5 * kappa * GRID**2 + 0.5 * math.log(kappa / (2 * math.pi))

    def kl(h):
        density = p(GRID, torch.tensor(h, dtype=torch.float64), kappa)
        return float((torch.xlogy(density, density) - density * log_pi).sum()) * DX

    x = GRID.clone().requires_grad_()
    density = p(x, torch.tensor(h, dtype=torch.float64), kappa)
    score = derivative(density.clamp(min=1e-300).log(), x)
    right = -float((density * (score + kappa * GRID) ** 2).detach().sum()) * DX
    d = 1e-4
    assert (8 * (kl(h + d) - kl(h - d)) - (kl(h + 2 * d) - kl(h - 2 * d))) / (12 * d) == pytest.approx(right, rel=1e-6)


@checks("eq-origins-jarzynski")
@pytest.mark.parametrize(("k0", "k1", "jumps", "dh"), [(1.0, 4.0, 5, 0.0), (1.0, 4.0, 8, 0.05), (1.0, 0.6, 6, 0.2), (2.0, 9.0, 40, 0.01)])
def test_jarzynski_by_propagating_the_weighted_density(k0, k1, jumps, dh):
    """E[exp(-W)] is the mass left when a cloud on a grid is weighted by exp(-work) at each jump and moved by the exact kernel between jumps."""
    x = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    dx, kappa = float(x[1] - x[0]), torch.linspace(k0, k1, jumps + 1, dtype=torch.float64).tolist()
    cloud = gauss(x, 0.0, 1 / k0)
    for before, after in zip(kappa, kappa[1:], strict=False):
        cloud = cloud * torch.exp(-(after - before) * x**2 / 2)
        if dh > 0:
            keep = math.exp(-after * dh)
            cloud = gauss(x, keep * x[:, None], (1 - keep**2) / after).T @ cloud * dx
    delta_F = 0.5 * math.log(k1 / k0)  # -log Z_1 + log Z_0 with Z = sqrt(2 pi / kappa)
    assert float(cloud.sum()) * dx == pytest.approx(math.exp(-delta_F), rel=1e-7)


@checks("eq-origins-evidence")
@pytest.mark.parametrize("x0", [-0.6, 0.2, 1.5])
def test_average_over_forward_paths_is_the_likelihood(x0):
    """Three steps of a model with crooked, non-linear kernels. Left: the model run backwards by matrices. Right: forward paths times ratios, by quadrature."""
    x = torch.linspace(-7, 7, 701, dtype=torch.float64)
    dx, betas = float(x[1] - x[0]), (0.3, 0.4, 0.5)
    kernels = [lambda x, t=t: (0.8 * x + 0.3 * torch.sin(2 * x), 0.25 + 0.05 * t) for t in (1, 2, 3)]
    at = torch.cat([x, torch.tensor([x0], dtype=torch.float64)])
    # backwards: p(x_2) = int p(x_2 | x_3) p(x_3), and so on down to the point x_0
    density = gauss(x, 0.0, 1.0)
    for t in (3, 2, 1):
        mean, variance = kernels[t - 1](x)
        density = gauss((x if t > 1 else at[-1:])[:, None], mean, variance) @ density * dx
    likelihood = float(density)
    # forwards: weights start at the point x_0; each step multiplies by q and by p / q, integrated over the path
    weights = None
    for t, beta in zip((1, 2, 3), betas, strict=True):
        before = at[-1:] if t == 1 else x
        mean, variance = kernels[t - 1](x)
        q = gauss(x, math.sqrt(1 - beta) * before[:, None], beta)
        ratio = torch.where(q > 1e-250, gauss(before[:, None], mean, variance) / q.clamp(min=1e-250), 0.0)
        step = q * ratio
        weights = step[0] if weights is None else weights @ step * dx
    assert float((weights * gauss(x, 0.0, 1.0)).sum()) * dx == pytest.approx(likelihood, rel=1e-6)


@checks("eq-origins-evidence")
def test_average_over_forward_paths_by_monte_carlo():
    """The same by drawing: 400,000 paths of a model whose likelihood is a Gaussian known from a recursion of variances; 4.5 standard errors."""
    generator, n, x0 = torch.Generator().manual_seed(0), 400_000, 0.7
    betas, slopes, variances = (0.2, 0.3, 0.4), (0.8, 0.75, 0.7), (0.3, 0.35, 0.5)
    x, log_w = torch.full((n,), x0, dtype=torch.float64), 0
    for beta, slope, variance in zip(betas, slopes, variances, strict=True):
        later = math.sqrt(1 - beta) * x + math.sqrt(beta) * torch.randn(n, dtype=torch.float64, generator=generator)
        log_w = log_w + gauss(x, slope * later, variance).log() - gauss(later, math.sqrt(1 - beta) * x, beta).log()
        x = later
    w = (log_w + gauss(x, 0.0, 1.0).log()).exp()
    v = 1.0
    for slope, variance in zip(reversed(slopes), reversed(variances), strict=True):
        v = slope**2 * v + variance
    exact = float(gauss(torch.tensor(x0, dtype=torch.float64), 0.0, v))
    error = float(w.std()) / math.sqrt(n)
    assert error < 0.005 * exact and abs(float(w.mean()) - exact) < 4.5 * error


@checks("eq-origins-reverse")
@pytest.mark.parametrize("h", [0.02, 0.3, 1.5])
def test_reversed_drift_carries_the_forward_density(h):
    x = torch.linspace(-3, 3, 121, dtype=torch.float64).requires_grad_()
    density = p(x, torch.tensor(h, dtype=torch.float64))
    b = x + 2 * derivative(density.log(), x)
    right = derivative(b * density, x) - derivative(derivative(density, x), x)
    torch.testing.assert_close(rate(p, x, h), right.detach(), rtol=0, atol=1e-8)


@checks("eq-origins-dae")
@pytest.mark.parametrize("sigma", [0.2, 0.7, 2.0])
def test_residual_of_the_best_denoiser_is_the_score(sigma):
    """E[x_0 | y] by quadrature over x_0; the score by automatic differentiation of the noisy density, itself the core's mixture."""
    prior = (WEIGHTS * gauss(GRID[:, None], CENTRES, SPREADS)).sum(1)
    y = torch.linspace(-3, 3, 25, dtype=torch.float64)
    joint = prior * gauss(y[:, None], GRID, sigma**2)
    mean = (joint @ GRID) / joint.sum(1)
    noisy = GaussianMixture(WEIGHTS, CENTRES[:, None], SPREADS + sigma**2)
    point = y[:, None].clone().requires_grad_()
    score = derivative(noisy.log_prob(Schedule.linear(10), point, 0), point)[:, 0]
    torch.testing.assert_close((mean - y) / sigma**2, score.detach(), rtol=0, atol=1e-9)


@checks("eq-origins-spectrum")
@pytest.mark.parametrize("t", [100, 500])
def test_noise_adds_a_flat_floor(t):
    """Data with a known covariance C: x_t has covariance alpha_bar C + (1 - alpha_bar) I; its Fourier powers against those of C, and against drawings."""
    generator, n, size = torch.Generator().manual_seed(0), 40_000, 8
    schedule = Schedule.linear(1000)
    a = float(schedule.alpha_bar[t])
    distance = (torch.arange(size)[:, None] - torch.arange(size)).abs().double()
    root = torch.linalg.cholesky((-distance / 2).exp())
    x0 = torch.randn(n, size, dtype=torch.float64, generator=generator) @ root.T
    x_t = q_sample(schedule, x0, t, torch.randn(n, size, dtype=torch.float64, generator=generator))
    F = torch.fft.fft(torch.eye(size, dtype=torch.complex128), norm="ortho")
    clean = torch.einsum("fi,ij,fj->f", F, (root @ root.T).to(F), F.conj()).real
    drawn = torch.fft.fft(x_t, norm="ortho").abs().square()
    error = drawn.std(0) / math.sqrt(n)
    assert bool(((drawn.mean(0) - (a * clean + 1 - a)).abs() < 4.5 * error).all()) and float((error / drawn.mean(0)).max()) < 0.01


@checks("eq-origins-heat-spectrum")
@pytest.mark.parametrize("s", [0.1, 1.0, 3.0])
def test_heat_damps_each_frequency_at_its_own_rate(s):
    """exp(s L) of the periodic Laplacian on a 6 x 6 picture as a matrix exponential, against the factor of each Fourier coefficient."""
    n, u = 6, torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    shift = torch.roll(torch.eye(n, dtype=torch.float64), 1, 0)
    line, eye = shift + shift.T - 2 * torch.eye(n, dtype=torch.float64), torch.eye(n, dtype=torch.float64)
    later = (torch.linalg.matrix_exp(s * (torch.kron(line, eye) + torch.kron(eye, line))) @ u.flatten()).view(n, n)
    wave = 2 - 2 * torch.cos(2 * math.pi * torch.arange(n, dtype=torch.float64) / n)
    lam = wave[:, None] + wave
    before, after = (torch.fft.fft2(v, norm="ortho").abs().square() for v in (u, later))
    torch.testing.assert_close(after, torch.exp(-2 * lam * s) * before, rtol=1e-8, atol=1e-12)


@checks("eq-origins-heat")
@pytest.mark.parametrize("variance", [0.05, 0.4])
def test_the_noisy_density_obeys_the_heat_equation(variance):
    """p_sigma by convolution on a grid (quadrature), its rate by differences in sigma^2, its curvature by differences in y."""
    prior = (WEIGHTS * gauss(GRID[:, None], CENTRES, SPREADS)).sum(1)

    def noisy(y, v):
        return gauss(y[:, None], GRID, v) @ prior * DX

    y, d = torch.linspace(-2, 2, 41, dtype=torch.float64), 1e-3
    change = (noisy(y, variance + d * variance) - noisy(y, variance - d * variance)) / (2 * d * variance)
    e = 3e-3
    curvature = (-noisy(y + 2 * e, variance) + 16 * noisy(y + e, variance) - 30 * noisy(y, variance)
                 + 16 * noisy(y - e, variance) - noisy(y - 2 * e, variance)) / (12 * e**2)
    torch.testing.assert_close(change, curvature / 2, rtol=0, atol=2e-5)
