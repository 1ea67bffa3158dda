"""Whole random trajectories against the schedulers of diffusers 0.42.1: at every step, to 1e-9 of the largest value in float64.

The network is a fixed random function of x and of its t counted from 0, so an index off by one, a wrong sign or another coefficient
shows at the first step. Both sides draw the same noise. With clipping, diffusers must derive eps again (use_clipped_model_output).

Its tables are float32, and their rounding alone moves x0 by 4e-5 near t = T. So `in_float64` rebuilds them by its own formulas; a few
runs leave diffusers as it is and compare to 1e-5.
"""

import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from diffusion_core import NetworkDenoiser, Schedule, ddim, ddpm, q_sample, timesteps, zero_terminal_snr

T = 1000
SHAPE = (3, 2, 4, 4)
NAMES = {"linear": "linear", "cosine": "squaredcos_cap_v2"}
KINDS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}


def random_network(seed=0):
    """net(x, t, cond): smooth, bounded by 1.5, and different at each t."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(32, 32, generator=generator) / 32**0.5
    shift = torch.randn(T, 32, generator=generator)

    def net(x, t, cond=None):
        return 1.5 * torch.tanh(x.flatten(1) @ mix.to(x) + shift.to(x)[t]).reshape(x.shape)

    return net


def start(seed=1, dtype=torch.float64):
    return torch.randn(SHAPE, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def noise():
    return torch.Generator().manual_seed(2)


def in_float64(scheduler):
    """The scheduler with its tables computed again, as its code does but in float64."""
    if scheduler.config.beta_schedule == "linear":
        betas = torch.linspace(1e-4, 0.02, T, dtype=torch.float64)
    else:
        f = [math.cos((i / T + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(T + 1)]
        betas = torch.tensor([min(1 - f[i + 1] / f[i], 0.999) for i in range(T)], dtype=torch.float64)
    assert scheduler.betas.tolist() == pytest.approx(betas.tolist(), rel=1e-4)
    scheduler.betas, scheduler.alphas, scheduler.alphas_cumprod = betas, 1 - betas, torch.cumprod(1 - betas, 0)
    if not scheduler.config.get("set_alpha_to_one", True):
        scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    return scheduler


def assert_close(ours, theirs, what, tolerance):
    error = (ours - theirs).abs().max() / theirs.abs().max()
    assert error <= tolerance, f"{what}: relative difference {error:.1e}"


def compare(ours, scheduler, net, *, tolerance=1e-9, dtype=torch.float64, steps_compared=None, **options):
    """Step by step: the times, x0 as it was used and x."""
    x, generator = start(dtype=dtype), noise()
    steps = list(ours)
    assert [step.t - 1 for step in steps] == scheduler.timesteps.tolist()
    for step, t in list(zip(steps, scheduler.timesteps.tolist(), strict=True))[:steps_compared]:
        out = net(x, torch.full((len(x),), t))
        result = scheduler.step(out, t, x, generator=generator, **options)
        x = result.prev_sample
        assert_close(step.x0, result.pred_original_sample, f"x0 at t = {step.t}", tolerance)
        assert_close(step.x, x, f"x from t = {step.t}", tolerance)


def ours_and_theirs(scheduler, schedule_name, predicts, clip, steps, **options):
    """Our denoiser and their scheduler, of the class and with the options given, set to a number of steps."""
    denoiser = NetworkDenoiser(random_network(), getattr(Schedule, schedule_name)(T), predicts, clip=1.0 if clip else None)
    theirs = scheduler(beta_schedule=NAMES[schedule_name], prediction_type=KINDS[predicts], clip_sample=clip, **options)
    theirs.set_timesteps(steps)
    return denoiser, theirs


@pytest.mark.parametrize("name", NAMES)
def test_tables(name):
    theirs = DDPMScheduler(beta_schedule=NAMES[name]).alphas_cumprod
    assert getattr(Schedule, name)(T).alpha_bar[1:].numpy() == pytest.approx(theirs.double().numpy(), rel=1e-4)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("n", [1, 2, 5, 10, 25, 40, 333, 1000])
def test_timesteps(n, spacing):
    """Every grid of diffusers, except linspace of one step: theirs is t = 1 of our count, the cleanest, ours the noisiest."""
    theirs = DDPMScheduler(timestep_spacing=spacing)
    theirs.set_timesteps(n)
    ours = [t - 1 for t, _ in timesteps(T, n, spacing)]
    assert ours == ([T - 1] if (n, spacing) == (1, "linspace") else theirs.timesteps.tolist())


@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("schedule", NAMES)
def test_ddim(schedule, predicts, clip, eta, spacing):
    denoiser, theirs = ours_and_theirs(DDIMScheduler, schedule, predicts, clip, 20, timestep_spacing=spacing)
    ours = ddim(denoiser, start(), denoiser.schedule, steps=20, eta=eta, spacing=spacing, generator=noise())
    compare(ours, in_float64(theirs), denoiser.net, eta=eta, use_clipped_model_output=clip)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("schedule", NAMES)
def test_ddim_linspace(schedule, eta):
    """Their DDIM steps to t - T // n whatever the grid, ours to the grid's next time: with all T steps the two agree."""
    denoiser, theirs = ours_and_theirs(DDIMScheduler, schedule, "v", True, T, timestep_spacing="linspace")
    ours = ddim(denoiser, start(), denoiser.schedule, steps=T, eta=eta, spacing="linspace", generator=noise())
    compare(ours, in_float64(theirs), denoiser.net, eta=eta, use_clipped_model_output=True)


@pytest.mark.parametrize("predicts", ["eps", "v"])
def test_ddim_with_the_first_alpha_bar_for_clean_data(predicts):
    """Their set_alpha_to_one=False is our final_alpha_bar."""
    plain, theirs = ours_and_theirs(DDIMScheduler, "linear", predicts, True, 20, set_alpha_to_one=False)
    betas = plain.schedule.betas[1:]
    schedule = Schedule.from_betas(betas, final_alpha_bar=1 - betas[0].item())
    denoiser = NetworkDenoiser(plain.net, schedule, predicts, clip=1.0)
    ours = ddim(denoiser, start(), schedule, steps=20, spacing="leading")
    compare(ours, in_float64(theirs), denoiser.net, use_clipped_model_output=True)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("variance", ["small", "large"])
@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("predicts", ["eps", "v", "x0"])
@pytest.mark.parametrize("schedule", NAMES)
def test_ddpm(schedule, predicts, clip, variance, spacing):
    """Trailing grids end with a step from t = 40 to clean data. There diffusers still adds noise when the variance is large (its guard
    asks for t > 0, not s > 0), which is the first trap of the bug zoo, so that one step is not compared.
    """
    denoiser, theirs = ours_and_theirs(DDPMScheduler, schedule, predicts, clip, 25, timestep_spacing=spacing,
                                       variance_type=f"fixed_{variance}")
    ours = ddpm(denoiser, start(), denoiser.schedule, steps=timesteps(T, 25, spacing), variance=variance, generator=noise())
    noisy_end = (spacing, variance) == ("trailing", "large")
    compare(ours, in_float64(theirs), denoiser.net, steps_compared=24 if noisy_end else None)


@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_all_steps(variance):
    denoiser, theirs = ours_and_theirs(DDPMScheduler, "linear", "eps", True, T, variance_type=f"fixed_{variance}")
    ours = ddpm(denoiser, start(), denoiser.schedule, variance=variance, generator=noise())
    compare(ours, in_float64(theirs), denoiser.net)


@pytest.mark.parametrize("predicts", ["eps", "v"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim_in_float32_as_published(spacing, eta, predicts):
    denoiser, theirs = ours_and_theirs(DDIMScheduler, "linear", predicts, False, 20, timestep_spacing=spacing)
    x = start(dtype=torch.float32)
    ours = ddim(denoiser, x, denoiser.schedule, steps=20, eta=eta, spacing=spacing, generator=noise())
    compare(ours, theirs, denoiser.net, eta=eta, tolerance=1e-5, dtype=torch.float32)


@pytest.mark.parametrize("predicts", ["eps", "v"])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_ddpm_in_float32_as_published(variance, predicts):
    denoiser, theirs = ours_and_theirs(DDPMScheduler, "linear", predicts, False, 25, variance_type=f"fixed_{variance}")
    x = start(dtype=torch.float32)
    ours = ddpm(denoiser, x, denoiser.schedule, steps=timesteps(T, 25, "leading"), variance=variance, generator=noise())
    compare(ours, theirs, denoiser.net, tolerance=1e-5, dtype=torch.float32)


@pytest.mark.parametrize("t", [1, 500, 1000])
def test_q_sample_is_add_noise(t):
    x0, eps = start(3), start(4)
    theirs = in_float64(DDPMScheduler()).add_noise(x0, eps, torch.full((len(x0),), t - 1))
    assert_close(q_sample(Schedule.linear(T), x0, t, eps), theirs, f"x_t at t = {t}", 1e-12)


def test_zero_terminal_snr():
    """Scaled-linear betas .00085 to .012, whose alpha_bar_T = .0047 is far from 0 (the cosine schedule's 2.4e-9 would show nothing)."""
    options = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "rescale_betas_zero_snr": True}
    theirs = DDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing", **options)
    theirs.set_timesteps(20)
    plain = Schedule.from_betas(torch.linspace(0.00085**0.5, 0.012**0.5, T, dtype=torch.float64) ** 2)
    assert plain.alpha_bar[T] > 0.004
    ours = zero_terminal_snr(plain)
    assert ours.alpha_bar[T] == 0
    assert ours.alpha_bar[1:].numpy() == pytest.approx(theirs.alphas_cumprod.double().numpy(), abs=2e-6)

    denoiser = NetworkDenoiser(random_network(), ours, "v", clip=1.0)
    theirs.alphas_cumprod = theirs.alphas_cumprod.double()
    compare(ddim(denoiser, start(), ours, steps=20), theirs, denoiser.net, use_clipped_model_output=True, tolerance=1e-5)
