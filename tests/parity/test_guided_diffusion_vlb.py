"""The terms of the likelihood bound against guided-diffusion's own, recorded in float64 by record_guided_diffusion.py on random inputs.

Their t counts from 0; their terms are bits per dimension. Two differences are deliberate and shown here: they take a tanh formula for the
normal distribution function in the decoder, and at their first time "large" is beta-tilde_2 where ours is beta_1.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_core import NetworkDenoiser, Schedule, ddpm, q_posterior, q_sample, vlb_terms
from diffusion_core.gaussian import reverse_step
from diffusion_core.likelihood import bits_per_dim, vlb_prior, vlb_term

VARIANCES = ("learned", "small", "large")


@pytest.fixture(scope="module")
def recorded():
    with np.load(Path(__file__).with_name("data") / "guided_diffusion_vlb.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files if key != "meta"} | {"meta": json.loads(str(file["meta"]))}


@pytest.fixture(scope="module")
def schedule(recorded):
    return Schedule.from_betas(recorded["betas"])


@pytest.fixture(scope="module")
def denoiser(recorded, schedule):
    """The recorded network: for each time its eps, and in as many channels again its variance."""

    def net(x, t, cond):
        return torch.cat([recorded["eps"][t[0]], recorded["variance_output"][t[0]]], 1)

    return NetworkDenoiser(net, schedule, "eps")


def predictions(recorded, schedule, denoiser, clip):
    """(t, prediction at t) in the book's count."""
    for t in range(1, len(schedule) + 1):
        prediction = denoiser(q_sample(schedule, recorded["x_start"], t, recorded["noise"][t - 1]), t)
        yield t, prediction.clamp(1.0) if clip else prediction


def our_terms(recorded, schedule, denoiser, variance, clip):
    x0 = recorded["x_start"]
    return torch.stack([bits_per_dim(vlb_term(p, schedule, x0, t, variance=variance), x0)
                        for t, p in predictions(recorded, schedule, denoiser, clip)])


def published_large(schedule):
    """Their fixed-large: beta, but beta-tilde_2 at the first time."""
    return lambda t, s: schedule.betas[t] if t > 1 else q_posterior(schedule, *torch.zeros(2, 1, 1).double(), 2, 1)[1]


def test_means_and_log_variances(recorded, schedule, denoiser):
    """q's and p's, at every time; "large" at t = 1 apart."""
    x0 = recorded["x_start"]
    for t, prediction in predictions(recorded, schedule, denoiser, clip=False):
        true, variance = q_posterior(schedule, x0, prediction.x_t, t, t - 1)
        assert torch.allclose(true, recorded["posterior_mean"][t - 1], rtol=0, atol=1e-12)
        assert variance.item() == pytest.approx(recorded["posterior_variance"][t - 1].item(), abs=1e-14)
        logvar = recorded["posterior_log_variance"][t - 1].item()
        assert reverse_step(prediction, schedule, t, t - 1)[1].item() == pytest.approx(logvar, abs=1e-12)
        clipped_mean, _ = reverse_step(prediction.clamp(1.0), schedule, t, t - 1)
        assert torch.allclose(clipped_mean, recorded["mean_clipped"][t - 1], rtol=0, atol=1e-12)
        for name in VARIANCES:
            mean, logvar = reverse_step(prediction, schedule, t, t - 1, name)
            assert torch.allclose(mean, recorded["mean"][t - 1], rtol=0, atol=1e-12)
            same = torch.allclose(logvar.expand_as(mean), recorded[f"log_variance_{name}"][t - 1], rtol=0, atol=1e-12)
            assert same == ((name, t) != ("large", 1))


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("variance", VARIANCES)
def test_divergences_and_decoder(recorded, schedule, denoiser, variance, clip):
    """To 1e-6 bits per dimension (1e-10, in fact): KL for t > 1, and the decoder by the exact distribution function."""
    ours = our_terms(recorded, schedule, denoiser, variance, clip)
    middle = "clipped_" if clip else ""
    assert torch.allclose(ours[1:], recorded[f"terms_{middle}{variance}"][1:], rtol=0, atol=1e-10)
    theirs = recorded[f"decoder_exact_{middle}{variance}"]
    if variance == "large":
        assert (ours[0] - theirs).abs().max() > 0.01  # beta_1 is not beta-tilde_2
        ours = our_terms(recorded, schedule, denoiser, published_large(schedule), clip)
    assert torch.allclose(ours[0], theirs, rtol=0, atol=1e-10)


def test_prior(recorded, schedule):
    x0 = recorded["x_start"]
    assert torch.allclose(bits_per_dim(vlb_prior(schedule, x0), x0), recorded["prior"], rtol=0, atol=1e-10)


def test_the_whole_bound(monkeypatch, recorded, schedule, denoiser):
    """`vlb_terms` with the recorded noise, in its own order of draws."""
    noise = iter(recorded["noise"])
    monkeypatch.setattr(torch, "randn", lambda shape, **options: next(noise))
    x0 = recorded["x_start"]
    prior, kl, decoder = (bits_per_dim(nats, x0) for nats in vlb_terms(denoiser, schedule, x0, variance="learned"))
    expected = recorded["prior"] + recorded["terms_learned"][1:].sum(0) + recorded["decoder_exact_learned"]
    assert torch.allclose(prior + kl.sum(1) + decoder, expected, rtol=0, atol=1e-9)


def tanh_cdf(z):
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def test_how_far_the_tanh_formula_is(monkeypatch, recorded, schedule, denoiser):
    """Published code's distribution function is off by up to 1.8e-4; here that moves the decoder by 1e-4 .. 4e-4 bits a dimension."""
    z = torch.linspace(-8, 8, 16_001, dtype=torch.float64)
    assert (tanh_cdf(z) - 0.5 * torch.erfc(-z / math.sqrt(2))).abs().max().item() == pytest.approx(1.79e-4, rel=0.01)
    for variance in ("learned", "small"):
        shift = recorded[f"terms_{variance}"][0] - recorded[f"decoder_exact_{variance}"]
        assert bool((shift.abs() > 1e-4).all()) and bool((shift.abs() < 4e-4).all())
    monkeypatch.setattr(torch, "erfc", lambda y: 2 * tanh_cdf(-y * math.sqrt(2)))
    for variance in ("learned", "small", published_large(schedule)):
        name = variance if isinstance(variance, str) else "large"
        ours = our_terms(recorded, schedule, denoiser, variance, clip=False)
        assert torch.allclose(ours[0], recorded[f"terms_{name}"][0], rtol=0, atol=1e-9)


def test_their_float32_tables_matter_less_than_the_digits_compared(recorded):
    """As published, coefficients are looked up in float32: that moves no recorded term by more than 1e-5 of itself."""
    assert 1e-7 < recorded["meta"]["difference_to_float32"] < 1e-5


def test_sampling_with_the_learned_variance(recorded, schedule, denoiser):
    """One ancestral step of `ddpm` is their mean plus exp(log variance / 2) times the noise."""
    T = len(schedule)
    x = q_sample(schedule, recorded["x_start"], T, recorded["noise"][T - 1])
    step = next(ddpm(denoiser, x, schedule, variance="learned", generator=torch.Generator().manual_seed(0)))
    z = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = recorded["mean"][T - 1] + (recorded["log_variance_learned"][T - 1] / 2).exp() * z
    assert torch.allclose(step.x, expected, rtol=0, atol=1e-12)
