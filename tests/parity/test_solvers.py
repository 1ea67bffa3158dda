"""Heun, DPM-Solver++(2M) and the exponential Adams method against the schedulers of diffusers 0.42.1 and its published test values."""

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler
from test_diffusers import KINDS, NAMES, SHAPE, T, assert_close, in_float64, random_network, start
from test_published_values import dummy_denoiser, dummy_sample

from diffusion_core import NetworkDenoiser, Schedule, dpmpp_2m, final, heun
from diffusion_core.gaussian import like
from diffusion_core.samplers import exponential_step


def chain(times):
    """Times of our count as pairs; the last is what the sampler goes to."""
    return list(zip(times, times[1:], strict=False))


@pytest.mark.parametrize("n", [5, 10, 14])
@pytest.mark.parametrize("spacing", ["linspace", "leading", "trailing"])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("schedule", NAMES)
def test_dpmpp_2m(schedule, predicts, spacing, n):
    """Whole trajectories to clean data, at most 14 steps: there diffusers, as ours does always, makes the last step of first order.

    To 1e-6, since their step rounds x to float32.
    """
    denoiser = NetworkDenoiser(random_network(), getattr(Schedule, schedule)(T), predicts)
    theirs = in_float64(DPMSolverMultistepScheduler(beta_schedule=NAMES[schedule], prediction_type=KINDS[predicts], timestep_spacing=spacing))
    theirs.set_timesteps(n)
    theirs.sigmas = ((1 - theirs.alphas_cumprod) / theirs.alphas_cumprod).sqrt()[theirs.timesteps]  # theirs are rounded to float32
    theirs.sigmas = torch.cat([theirs.sigmas, torch.zeros(1, dtype=torch.float64)])
    x = start()
    steps = list(dpmpp_2m(denoiser, x, denoiser.schedule, steps=chain([*(theirs.timesteps + 1).tolist(), 0])))
    for step in steps:
        x = theirs.step(denoiser.net(x, torch.full((len(x),), step.t - 1)), step.t - 1, x).prev_sample
        assert_close(step.x, x, f"x from t = {step.t}", 1e-6)


@pytest.mark.parametrize(("predicts", "mean"), [("eps", 0.3301), ("v", 0.2251)])
def test_dpmpp_2m_published(predicts, mean):
    """Row "DPM-Solver++(2M), midpoint, 10 steps, final sigma_min"; diffusers, test_scheduler_dpm_multi.py: linspace times 999 .. 100, then 0."""
    denoiser = dummy_denoiser(predicts)
    unclipped = NetworkDenoiser(denoiser.net, denoiser.schedule, predicts)
    times = [round(t) + 1 for t in torch.linspace(999, 0, 11, dtype=torch.float64).tolist()]
    x = final(dpmpp_2m(unclipped, dummy_sample(), denoiser.schedule, steps=chain(times)))
    assert x.abs().mean().item() == pytest.approx(mean, abs=1e-3)


def heun_of_diffusers(predicts, n, net, x):
    """Their Heun from x_T in our scale, called as its pipelines call it: the network sees x scaled by alpha."""
    theirs = HeunDiscreteScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, prediction_type=KINDS[predicts],
                                   timestep_spacing="linspace")
    theirs.set_timesteps(n)
    alpha_bar = Schedule.linear(T).alpha_bar[1:]
    index = theirs.timesteps.round().long()
    theirs.sigmas = torch.cat([((1 - alpha_bar) / alpha_bar).sqrt()[index], torch.zeros(1, dtype=torch.float64)]).to(x.dtype)
    y = x * (theirs.sigmas[0] ** 2 + 1).sqrt()
    for k, t in enumerate(index.tolist()):
        scaled = y / (theirs.sigmas[k] ** 2 + 1).sqrt()
        y = theirs.step(net(scaled, torch.full((len(x),), t)), theirs.timesteps[k], y).prev_sample
    return y, sorted(set((index + 1).tolist()), reverse=True)


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_heun(predicts):
    """Ten times of a grid that both can stand on: theirs interpolates between times, so its noise levels are set to those of ours."""
    denoiser = NetworkDenoiser(random_network(), Schedule.linear(T), predicts)
    theirs, times = heun_of_diffusers(predicts, 10, denoiser.net, start())
    assert_close(final(heun(denoiser, start(), denoiser.schedule, steps=chain([*times, 0]))), theirs, "x", 1e-7)


@pytest.mark.parametrize(("predicts", "total"), [("eps", 244.6025), ("v", 116.0958)])
def test_heun_published(predicts, total):
    """Heun, 10 steps, T = 1100, with correct use, measured against diffusers 0.42.1.

    Its ten times are fractions, 1099, 976.89, .., 0, with noise levels interpolated between the table's: here they are a schedule of 10.
    """
    table = Schedule.linear(1100, 1e-4, 0.02).alpha_bar[1:]
    sigma, times = ((1 - table) / table).sqrt().numpy(), np.linspace(0, 1099, 10)
    alpha_bar = 1 / (1 + torch.from_numpy(np.interp(times, np.arange(1100), sigma)) ** 2)
    schedule, times = Schedule(torch.cat([torch.ones(1, dtype=torch.float64), alpha_bar])), torch.from_numpy(times)
    denoiser = NetworkDenoiser(lambda x, t, cond: x * like(times[t] / (times[t] + 1), x), schedule, predicts)
    x = dummy_sample() * (1 - schedule.alpha_bar[10]).sqrt().float()
    assert final(heun(denoiser, x, schedule, steps=10)).abs().sum().item() == pytest.approx(total, abs=1e-2)


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("schedule", NAMES)
def test_adams_corrector_is_unic(schedule, order):
    """The corrector through 3 and 4 values is UniC of order 2 and 3 (Zhao et al. 2023) in float64, for random values of x0."""
    alpha_bar = getattr(Schedule, schedule)(T)
    theirs = in_float64(UniPCMultistepScheduler(beta_schedule=NAMES[schedule], solver_order=order, prediction_type="sample"))
    theirs.set_timesteps(10)
    times = (theirs.timesteps + 1).tolist()
    theirs.sigmas = torch.cat([((1 - alpha_bar.at(times)) / alpha_bar.at(times)).sqrt(), torch.zeros(1, dtype=torch.float64)])
    values = [torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(order + 2)]
    x_before, k = values.pop(), order + 3
    theirs._step_index = k
    theirs.model_outputs = values[:0:-1]  # oldest first
    theirs.timestep_list = [t - 1 for t in times[k - order : k]]
    expected = theirs.multistep_uni_c_bh_update(values[0], last_sample=x_before, this_sample=x_before, order=order)
    known = list(zip(times[k : k - order - 1 : -1], values, strict=True))
    assert_close(exponential_step(alpha_bar, x_before, times[k - 1], times[k], known), expected, "x", 1e-9)


def test_adams_predictor_of_first_order_is_theirs():
    """One known value makes UniP of order 1, which is DDIM."""
    schedule = Schedule.linear(T)
    theirs = in_float64(UniPCMultistepScheduler(beta_schedule="linear", solver_order=1, prediction_type="sample"))
    theirs.set_timesteps(10)
    times = (theirs.timesteps + 1).tolist()
    theirs.sigmas = torch.cat([((1 - schedule.at(times)) / schedule.at(times)).sqrt(), torch.zeros(1, dtype=torch.float64)])
    x, x0 = start(1), start(2)
    theirs._step_index, theirs.model_outputs, theirs.timestep_list = 4, [x0], [times[4] - 1]
    expected = theirs.multistep_uni_p_bh_update(x0, sample=x, order=1)
    assert_close(exponential_step(schedule, x, times[4], times[5], [(times[4], x0)]), expected, "x", 1e-9)
