"""Values published by other projects' test suites, or computed from their formulas.

Sources: huggingface/diffusers, tests/schedulers/test_scheduler_ddpm.py and test_scheduler_ddim.py (tolerance 1e-2 on a sum, 1e-3 on a
mean); openai/guided-diffusion, gaussian_diffusion.py and respace.py. All of them count t from 0, one less than this book.
"""

import math

import pytest
import torch
from diffusers import DDIMScheduler

from diffusion_core import NetworkDenoiser, Prediction, Schedule, cosine_betas, ddim, ddpm, final, timesteps, vlb_terms
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.gaussian import posterior_variance

T = 1000


def dummy_sample():
    """The input of diffusers' suites: 768 values, shape (4, 3, 8, 8)."""
    return (torch.arange(768).reshape(3, 8, 8, 4) / 768).permute(3, 0, 1, 2)


def dummy_model(x, t, cond):
    """The network of diffusers' suites, x t / (t + 1) with t counted from 0: a wrong index shows in the sum."""
    t = t.reshape(-1, 1, 1, 1)
    return x * t / (t + 1)


def assert_sum_and_mean(x, total, mean):
    assert x.abs().sum().item() == pytest.approx(total, abs=1e-2)
    assert x.abs().mean().item() == pytest.approx(mean, abs=1e-3)


def dummy_denoiser(predicts="eps", start=1e-4):
    return NetworkDenoiser(dummy_model, Schedule.linear(T, start, 0.02), predicts, clip=1.0)


@pytest.mark.parametrize(("predicts", "total", "mean"), [("eps", 258.9606, 0.3372), ("v", 202.0296, 0.2631)])
def test_ddpm_full_loop(predicts, total, mean):
    """Rows "DDPM, t = 999..0, fixed small variance, seed 0" and its v-prediction; diffusers, test_scheduler_ddpm.py."""
    denoiser = dummy_denoiser(predicts)
    x = final(ddpm(denoiser, dummy_sample(), denoiser.schedule, generator=torch.Generator().manual_seed(0)))
    assert_sum_and_mean(x, total, mean)


@pytest.mark.parametrize(("theirs", "variance"), [(0, 0.0), (487, 0.00979), (999, 0.02)])
def test_ddpm_variance(theirs, variance):
    """Row "DDPM variance at t = 0, 487, 999"; diffusers, test_scheduler_ddpm.py."""
    ours = theirs + 1
    assert posterior_variance(Schedule.linear(T), ours, ours - 1).item() == pytest.approx(variance, abs=1e-5)


@pytest.mark.parametrize(("predicts", "start", "total", "mean"), [
    ("eps", 1e-4, 172.0067, 0.223967), ("v", 1e-4, 52.5302, 0.0684), ("eps", 0.01, 149.8295, 0.1951)])
def test_ddim_leading(predicts, start, total, mean):
    """Rows "DDIM, 10 steps, leading spacing, eta 0", its v-prediction, "DDIM, beta_start 0.01, final alpha one"; diffusers,
    test_scheduler_ddim.py.
    """
    denoiser = dummy_denoiser(predicts, start)
    assert_sum_and_mean(final(ddim(denoiser, dummy_sample(), denoiser.schedule, steps=10, spacing="leading")), total, mean)


def test_ddim_trailing():
    """Row "trailing spacing, 10 steps", measured against diffusers 0.42.1."""
    denoiser = dummy_denoiser()
    x = final(ddim(denoiser, dummy_sample(), denoiser.schedule, steps=10, spacing="trailing"))
    assert x.abs().sum().item() == pytest.approx(170.0350, abs=1e-2)


@pytest.mark.parametrize(("eta", "raw", "derived_again"), [(0.5, 238.7259, 238.7259), (1.0, 234.8298, 234.8491)])
def test_ddim_with_noise(eta, raw, derived_again):
    """Row "DDIM-10 seed 0, eta 0.5 and eta 1", measured against diffusers 0.42.1.

    At eta = 1 some x0 is clipped, so the row's 234.8298, which keeps the raw eps, is not what this book samples: with eps derived again
    diffusers gives 234.8491. Both are checked, so that the difference has no other cause.
    """
    denoiser = dummy_denoiser()
    x = final(ddim(denoiser, dummy_sample(), denoiser.schedule, steps=10, eta=eta, spacing="leading",
                   generator=torch.Generator().manual_seed(0)))
    assert x.abs().sum().item() == pytest.approx(derived_again, abs=1e-2)
    for total, again in ((raw, False), (derived_again, True)):
        theirs = DDIMScheduler(clip_sample=True)
        theirs.set_timesteps(10)
        x, generator = dummy_sample(), torch.Generator().manual_seed(0)
        for t in theirs.timesteps:
            x = theirs.step(x * t / (t + 1), int(t), x, eta=eta, use_clipped_model_output=again, generator=generator).prev_sample
        assert x.abs().sum().item() == pytest.approx(total, abs=1e-2)


def test_eps_is_derived_again_after_clipping():
    """Row "one step of 10 at t = 500 with x = 4 sample, eps = 0.25 sample": 411.2395 with the raw eps, 1566.8700 with the re-derived one,
    measured against diffusers 0.42.1. Ours is the second.
    """
    x = 4 * dummy_sample()
    denoiser = NetworkDenoiser(lambda x_t, t, cond: x_t / 16, Schedule.linear(T), "eps", clip=1.0)
    assert final(ddim(denoiser, x, denoiser.schedule, steps=[(501, 401)])).abs().sum().item() == pytest.approx(1566.8700, abs=1e-2)

    unclipped = NetworkDenoiser(denoiser.net, denoiser.schedule, "eps")

    def raw(x_t, t, cond):
        """The mistake: the clipped x0 beside the network's own eps."""
        prediction = unclipped(x_t, t)
        a = denoiser.schedule.alpha_bar[401]
        return a.sqrt().float() * prediction.x0.clamp(-1, 1) + (1 - a).sqrt().float() * prediction.eps

    assert raw(x, 501, None).abs().sum().item() == pytest.approx(411.2395, abs=1e-2)


@pytest.mark.parametrize(("theirs", "variance"), [((420, 400), 0.14771), ((980, 960), 0.32460)])
def test_ddim_variance(theirs, variance):
    """Row "DDIM variance at (t, s)"; diffusers, test_scheduler_ddim.py."""
    t, s = (index + 1 for index in theirs)
    assert posterior_variance(Schedule.linear(T), t, s).item() == pytest.approx(variance, abs=1e-5)


def test_steps_offset():
    """Row "steps_offset 1, 5 steps"; diffusers, test_scheduler_ddim.py."""
    assert [t - 1 for t, _ in timesteps(T, 5, "leading", offset=1)] == [801, 601, 401, 201, 1]


def test_guided_diffusion_tables():
    """Row alpha_bar[500], posterior_variance[500]; guided-diffusion, gaussian_diffusion.py."""
    schedule = Schedule.linear(T)
    assert schedule.alpha_bar[501].item() == pytest.approx(0.07779665836502389, rel=1e-12)
    assert posterior_variance(schedule, 501, 500).item() == pytest.approx(0.0100513358, abs=5e-11)


def test_guided_diffusion_clipped_log_variance():
    """Row "clipped log variance [0] = [1]"; guided-diffusion, gaussian_diffusion.py: at t = 1 the variance of p is that of t = 2.

    With an exact x0 the decoder's mean is x0, so that its term is the logarithm of the density at its peak and shows the variance.
    """
    schedule, x0 = Schedule.linear(T), torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)
    assert posterior_variance(schedule, 2, 1).log().item() == pytest.approx(-9.8167251353, abs=5e-11)
    short = Schedule(schedule.alpha_bar[:3])  # two steps, so that the test is over at once
    exact = FunctionDenoiser(short, lambda x_t, t, cond: Prediction(x_t, short.at(t), "x0", x0))
    _, _, decoder = vlb_terms(exact, short, x0, bins=None)
    assert decoder.tolist() == pytest.approx([1.5 * (math.log(2 * math.pi) - 9.8167251353)] * 2, abs=1e-9)


def test_guided_diffusion_cosine():
    """Row "cosine beta[0], one beta capped at 0.999"; guided-diffusion, gaussian_diffusion.py."""
    betas = cosine_betas(T)
    assert betas[0].item() == pytest.approx(4.128422482e-5, rel=1e-9)
    assert (betas == 0.999).nonzero().flatten().tolist() == [T - 1]
    assert betas.max() == 0.999


@pytest.mark.parametrize(("spacing", "theirs"), [("linspace", range(0, 1000, 111)), ("leading", range(0, 1000, 100))])
def test_guided_diffusion_respacing(spacing, theirs):
    """Row "respacing 1000 -> 10" and "ddim10"; guided-diffusion, respace.py."""
    assert sorted(t - 1 for t, _ in timesteps(T, 10, spacing)) == list(theirs)
