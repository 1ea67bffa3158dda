"""The order of the fast solvers, with exact denoisers: error against number of steps, from T to a time where noise is still left.

The last step to clean data is of first order in all of them and would hide it: at s = 0 lambda is infinite.
"""

import math

import pytest
import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, adams, ddim, dpmpp_2m, final, heun, noise_steps
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.samplers import exponential_step, half_log_snr

SOLVERS = {"ddim": ddim, "heun": heun, "dpmpp_2m": dpmpp_2m, "adams": adams}
ORDERS = {"ddim": (0.9, 1.1), "heun": (1.7, 2.4), "dpmpp_2m": (1.7, 2.4), "adams": (2.4, 3.6)}
END = 40


def grid(stride):
    times = range(1000, END - 1, -stride)
    return list(zip(times, times[1:], strict=False))


def slopes(errors):
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_a_gaussian(name):
    """The flow keeps a point's distance from the mean in standard deviations: the end is known (Song et al. 2021, appendix)."""
    schedule, mean, variance = Schedule.linear(1000), 0.7, 0.25
    gm = GaussianMixture(torch.ones(1), torch.tensor([[mean]], dtype=torch.float64), torch.tensor([variance]))
    x = torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    (a_T, a), spread = schedule.at([1000, END]), lambda a: (a * variance + 1 - a).sqrt()
    exact = a.sqrt() * mean + (x - a_T.sqrt() * mean) * spread(a) / spread(a_T)
    errors = [(final(SOLVERS[name](gm.denoiser(schedule), x, schedule, steps=grid(stride))) - exact).abs().max().item() for stride in (20, 10, 5)]
    low, high = ORDERS[name]
    assert all(low < slope < high for slope in slopes(errors)), (errors, slopes(errors))


@pytest.mark.parametrize("name", SOLVERS)
def test_order_on_a_mixture(name):
    """Against the solver of highest order at every time. The median over x_T: a point between two modes may end in either."""
    schedule = Schedule.linear(1000)
    gm = GaussianMixture(torch.tensor([0.4, 0.6]), torch.tensor([[-1.0, 0.3], [1.0, 0.5]], dtype=torch.float64), torch.tensor([0.25, 0.1]))
    x = torch.randn(33, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    reference = final(adams(gm.denoiser(schedule), x, schedule, steps=grid(1)))
    runs = (final(SOLVERS[name](gm.denoiser(schedule), x, schedule, steps=grid(stride))) for stride in (20, 10, 5))
    errors = [(run - reference).abs().amax(1).median().item() for run in runs]
    low, high = ORDERS[name]
    assert all(low < slope < high for slope in slopes(errors)), (errors, slopes(errors))


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_exponential_step_is_exact_for_polynomials(degree):
    """With x0 = lambda^degree the integral by a fine rule; one known value more than the degree is enough, one fewer is not."""
    schedule, t, s = Schedule.cosine(1000), 700, 400
    times = [t, 850, 930][: degree + 1]
    lam = {time: half_log_snr(schedule, time) for time in [*times, s]}
    known = [(time, lam[time] ** degree * torch.ones(1, dtype=torch.float64)) for time in times]
    u = torch.linspace(float(lam[t]), float(lam[s]), 200_001, dtype=torch.float64)
    x = torch.tensor([0.3], dtype=torch.float64)
    integral = torch.trapezoid(torch.exp(u - lam[s]) * u**degree, u)
    exact = ((1 - schedule.at(s)) / (1 - schedule.at(t))).sqrt() * x + schedule.at(s).sqrt() * integral
    assert exponential_step(schedule, x, t, s, known).item() == pytest.approx(exact.item(), abs=1e-9)
    if degree:
        assert abs(exponential_step(schedule, x, t, s, known[:-1]).item() - exact.item()) > 1e-3


@pytest.mark.parametrize("name", SOLVERS)
def test_zero_terminal_snr_gives_numbers(name):
    """At alpha_bar_T = 0 lambda is minus infinity; for point data every solver still ends there."""
    schedule = Schedule(torch.cat([Schedule.cosine(100).alpha_bar[:-1], torch.zeros(1, dtype=torch.float64)]))
    point = torch.full((2, 3), 0.4, dtype=torch.float64)
    denoiser = FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", point))
    if name == "heun":  # sigma / alpha, Heun's time, is infinite: start one step later
        steps = [(99, 50), (50, 0)]
    else:
        steps = [(100, 75), (75, 50), (50, 25), (25, 0)]
    x = torch.randn(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(final(SOLVERS[name](denoiser, x, schedule, steps=steps)), point, atol=1e-12)


@pytest.mark.parametrize("rho", [1.0, 7.0, 100.0])
def test_noise_steps_are_even_in_the_level(rho):
    schedule = Schedule.cosine(1000)
    steps = noise_steps(schedule, 8, rho, first=980, last=20)
    assert steps[0][0] == 980 and steps[-1] == (20, 0)
    level = torch.tensor([((1 - schedule.at(t)) / schedule.at(t)).item() ** (0.5 / rho) for t, _ in steps])
    gaps = level.diff()
    assert torch.allclose(gaps, gaps.mean().expand(7), rtol=0.05 if rho > 1 else 0.2)


@pytest.mark.parametrize(("arguments", "named"), [
    ({"n": 1}, "at least 2"), ({"n": 5, "rho": 0}, "rho"), ({"n": 5, "first": 1001}, "first = 1001"), ({"n": 5, "last": 0}, "last = 0"),
    ({"n": 400}, "too few times")])
def test_noise_steps_refuse(arguments, named):
    with pytest.raises(ValueError, match=named):
        noise_steps(Schedule.cosine(1000), **arguments)
