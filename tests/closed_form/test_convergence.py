"""What finite steps lose: samplers with the exact denoiser, so that every error is the sampler's own.

On a Gaussian each step is linear, so the sample's variance is the sum of squares of the responses to x_T and to each step's noise: exact,
without drawing anything. On mixtures: a fine reference (DDIM) and densities by quadrature (DDPM).
"""

import math

import pytest
import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, ddim, ddpm, final, samplers, timesteps
from diffusion_core.denoisers import FunctionDenoiser

DATA_VARIANCE = 0.25
SAMPLERS = {
    "ddim 0": (ddim, {"eta": 0.0}), "ddim 0.5": (ddim, {"eta": 0.5}), "ddim 1": (ddim, {"eta": 1.0}),
    "ddpm small": (ddpm, {"variance": "small"}), "ddpm large": (ddpm, {"variance": "large"})}


def gaussian(mean=0.0):
    return GaussianMixture(torch.ones(1), torch.tensor([[mean]], dtype=torch.float64), torch.tensor([DATA_VARIANCE]))


@pytest.fixture
def variance_of(monkeypatch):
    """Function (sampler name, denoiser, pairs) -> exact variance of its result for x_T ~ N(0, 1), for a denoiser linear in x."""

    def measure(name, denoiser, pairs):
        sampler, options = SAMPLERS[name]
        x, count = torch.zeros(len(pairs) + 1, 1, dtype=torch.float64), iter(range(1, len(pairs) + 1))
        x[0] = 1  # row 0: the response to x_T; row k: the response to the k-th draw of noise

        def unit(x, generator):
            noise = torch.zeros_like(x)
            noise[next(count)] = 1
            return noise

        monkeypatch.setattr(samplers, "noise_like", unit)
        return float((final(sampler(denoiser, x, denoiser.schedule, steps=pairs, **options)) ** 2).sum())

    return measure


def recursion(name, schedule, pairs):
    """The same variance from the papers' formulas, step by step, in plain Python."""
    v, c = 1.0, DATA_VARIANCE
    for t, s in pairs:
        a, b = float(schedule.alpha_bar[t]), float(schedule.alpha_bar[s])
        gain = math.sqrt(a) * c / (a * c + 1 - a)  # E[x0 | x_t] = gain x_t
        tilde = (1 - b) / (1 - a) * (1 - a / b)
        if name.startswith("ddpm"):
            slope = math.sqrt(b) * (1 - a / b) / (1 - a) * gain + math.sqrt(a / b) * (1 - b) / (1 - a)
            added = 0 if s == 0 else tilde if name == "ddpm small" else 1 - a / b
        else:
            added = float(name.split()[1]) ** 2 * tilde
            slope = math.sqrt(b) * gain + math.sqrt(1 - b - added) * (1 - math.sqrt(a) * gain) / math.sqrt(1 - a)
        v = slope**2 * v + added
    return v


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("n", [1, 7, 40])
def test_variance_follows_the_recursion(variance_of, name, spacing, n):
    schedule = Schedule.linear(1000)
    pairs = timesteps(1000, n, spacing)
    assert variance_of(name, gaussian().denoiser(schedule), pairs) == pytest.approx(recursion(name, schedule, pairs), rel=1e-12)


@pytest.mark.parametrize(("name", "error"), [("ddim 0", -0.036), ("ddim 1", -0.063)])
def test_variance_lost_in_20_steps(variance_of, name, error):
    """N(0, .25), cosine: a finite-step sampler that plugs in E[x0 | x_t] does not keep the marginals."""
    schedule = Schedule.cosine(1000)
    lost = variance_of(name, gaussian().denoiser(schedule), timesteps(1000, 20)) - DATA_VARIANCE
    assert lost == pytest.approx(error, abs=5e-4)


def test_fixed_large_changes_the_sign_of_its_error(variance_of):
    schedule = Schedule.linear(1000)
    errors = [variance_of("ddpm large", gaussian().denoiser(schedule), timesteps(1000, n)) - DATA_VARIANCE for n in (10, 20)]
    assert errors[0] < -0.004 and errors[1] > 0.01


BANDS = {  # least and greatest slope of log |error| against log steps, 50 -> 100 -> 200: theory says 1, from below
    "ddim 0": (0.94, 1.0), "ddim 0.5": (0.88, 1.0), "ddim 1": (0.77, 1.0), "ddpm small": (0.77, 1.0), "ddpm large": (0.80, 1.0)}


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_first_order_on_a_gaussian(variance_of, schedule, name):
    """The error of the variance falls as 1/n above 50 steps, to the data's variance itself."""
    schedule = getattr(Schedule, schedule)(1000)
    errors = [variance_of(name, gaussian().denoiser(schedule), timesteps(1000, n)) - DATA_VARIANCE for n in (50, 100, 200)]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    low, high = BANDS[name]
    assert all(low < slope < high for slope in slopes), slopes
    assert slopes[1] > slopes[0]  # nearer to 1 with more steps


def test_few_steps_are_below_first_order(variance_of):
    """So that nobody fits the order there: 5 to 20 steps of DDIM show .68 to .82."""
    denoiser = gaussian().denoiser(Schedule.linear(1000))
    errors = [variance_of("ddim 0", denoiser, timesteps(1000, n)) - DATA_VARIANCE for n in (5, 10, 20)]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert slopes == pytest.approx([0.68, 0.82], abs=0.01)


def test_ddim_tends_to_the_closed_form_flow():
    """On N(m, c) the probability flow keeps a point's distance from the mean in standard deviations (Song et al. 2021, appendix)."""
    schedule, m = Schedule.linear(1000), 0.7
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    a = schedule.alpha_bar[1000]
    limit = m + (x - a.sqrt() * m) * math.sqrt(DATA_VARIANCE) / torch.sqrt(a * DATA_VARIANCE + 1 - a)
    errors = [(final(ddim(gaussian(m).denoiser(schedule), x, schedule, steps=n)) - limit).abs().max().item() for n in (50, 100, 200)]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert errors[-1] < 0.03 and all(0.94 < slope < 1.0 for slope in slopes), (errors, slopes)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_ddim_is_first_order_on_a_mixture(schedule):
    """Against 1,000 steps, improved by Richardson's extrapolation from 500 (the error at n steps is proportional to 1/n).

    The median over x_T: a point near the border between two modes may end in the other one, whatever the order.
    """
    T = 1000
    gm = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.3], [1.0, 0.5]], dtype=torch.float64), torch.tensor([0.25, 0.1]))
    schedule = getattr(Schedule, schedule)(T)
    x = torch.randn(33, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def end(n):
        return final(ddim(gm.denoiser(schedule), x, schedule, steps=n))

    reference = 2 * end(T) - end(T // 2)
    errors = [(end(n) - reference).abs().amax(1).median().item() for n in (50, 100, 200)]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert all(0.94 < slope < 1.0 for slope in slopes), slopes


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_is_first_order_on_a_mixture(monkeypatch, variance):
    """The density DDPM reaches at t = 20, by quadrature over its kernels, against the mixture's own there: total variation falls as 1/n.

    Each kernel is taken from the sampler: its mean is one step without noise, its width one with unit noise.
    """
    gm = GaussianMixture(torch.tensor([0.3, 0.5, 0.2]), torch.tensor([[-1.0], [0.5], [1.5]], dtype=torch.float64),
                         torch.tensor([0.04, 0.25, 0.04]))
    schedule = Schedule.linear(1000)
    grid = torch.linspace(-5, 5, 401, dtype=torch.float64)[:, None]
    width = 10 / 400

    def one_step(t, s, noise):
        monkeypatch.setattr(samplers, "noise_like", lambda x, generator: torch.full_like(x, noise))
        return final(ddpm(gm.denoiser(schedule), grid, schedule, steps=[(t, s)], variance=variance))

    errors = []
    for stride in (20, 10, 5):
        times = range(1000, 19, -stride)
        p = torch.exp(gm.log_prob(schedule, grid, 1000))
        for t, s in zip(times, times[1:], strict=False):
            mean = one_step(t, s, 0.0)
            std = one_step(t, s, 1.0) - mean
            kernel = torch.exp(-(((grid.T - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))
            p = (p[:, None] * kernel).sum(0) * width
        assert p.sum().item() * width == pytest.approx(1, abs=1e-4)
        errors.append(((p - gm.log_prob(schedule, grid, 20).exp()).abs().sum() * width / 2).item())
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert errors[-1] < 0.02 and all(0.90 < slope < 1.02 for slope in slopes), (errors, slopes)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("s", [0, 1, 400])
def test_ddim_keeps_the_marginals_when_x0_is_known(monkeypatch, eta, s):
    """For every eta, x_t ~ q(x_t | x0) goes to x_s ~ q(x_s | x0) (Song et al. 2021, lemma 1)."""
    schedule, t = Schedule.cosine(1000), 700
    x0 = torch.full((3, 1), 0.8, dtype=torch.float64)
    a, b = schedule.alpha_bar[t], schedule.alpha_bar[s]
    known = FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", x0))
    noise = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
    monkeypatch.setattr(samplers, "noise_like", lambda x, generator: noise)
    x_t = a.sqrt() * x0 + (1 - a).sqrt() * torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
    mean, by_eps, by_noise = final(ddim(known, x_t, schedule, steps=[(t, s)], eta=eta)).flatten()
    assert mean.item() == pytest.approx((b.sqrt() * 0.8).item(), abs=1e-12)
    assert ((by_eps - mean) ** 2 + (by_noise - mean) ** 2).item() == pytest.approx((1 - b).item(), abs=1e-12)


def test_ddim_with_eta_1_is_ddpm():
    """The same steps to the last bits, noise included (Song et al. 2021, section 4.1)."""
    gm, schedule = gaussian(0.3), Schedule.linear(1000)
    x = torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]
    runs = [list(sampler(gm.denoiser(schedule), x, schedule, steps=30, generator=torch.Generator().manual_seed(3), **options))
            for sampler, options in (SAMPLERS["ddim 1"], SAMPLERS["ddpm small"])]
    for ours, theirs in zip(*runs, strict=True):
        assert torch.allclose(ours.x, theirs.x, rtol=0, atol=1e-12)
