"""Editing with exact denoisers: round trips of first order, Gaussian edits in closed form, and the bias of replacing."""

import math

import pytest
import torch

from diffusion_core import GaussianMixture, Schedule, ddim, final, timesteps
from diffusion_core.editing import inpainted, invert, sdedit

S = Schedule.cosine(1000)
GM = GaussianMixture(torch.tensor([0.2, 0.3, 0.5]), torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64), torch.full((3,), 0.15**2))


def gaussian(mean, variance):
    return GaussianMixture([1.0], torch.tensor([[mean]], dtype=torch.float64), [variance]).denoiser(S)


def test_the_round_trip_error_halves_at_each_doubling_above_50_steps():
    denoiser, (x, _) = GM.denoiser(S), GM.sample(300, torch.Generator().manual_seed(0))
    errors = []
    for n in (50, 100, 200, 400):
        back = final(ddim(denoiser, final(invert(denoiser, x, S, steps=n)), S, steps=n))
        errors.append(float((back - x).abs().median()))
    assert all(1.7 < before / after < 2.3 for before, after in zip(errors, errors[1:], strict=False)), errors
    assert errors[0] < 0.03


def test_inversion_approaches_the_quantile():
    """In one dimension the flow keeps quantiles; T steps come within .03 of the normal quantile of each point of the middle mode."""
    p = torch.tensor([0.3, 0.35, 0.4], dtype=torch.float64)
    low, high = torch.full_like(p, -3), torch.full_like(p, 3)
    for _ in range(60):
        middle = (low + high) / 2
        cdf = sum(w * torch.special.ndtr((middle - m) / 0.15) for w, m in ((0.2, -1), (0.3, 0), (0.5, 1)))
        low, high = torch.where(cdf < p, middle, low), torch.where(cdf < p, high, middle)
    noise = final(invert(GM.denoiser(S), middle[:, None], S, steps=1000))[:, 0]
    assert (noise - torch.special.ndtri(p)).abs().max() < 0.03


@pytest.mark.parametrize("t0", [100, 400, 700, 1000])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_data_edited_stay_data(t0, eta):
    """SDEdit of guides drawn from the data gives draws of the data: mean and variance with 200 steps, 20,000 draws."""
    generator, denoiser = torch.Generator().manual_seed(1), gaussian(0.3, 0.25)
    guide = 0.3 + 0.5 * torch.randn(20_000, 1, dtype=torch.float64, generator=generator)
    edited = final(sdedit(denoiser, guide, S, steps=timesteps(t0, min(t0, 200)), eta=eta, generator=generator))
    assert abs(float(edited.mean()) - 0.3) < 0.015 and abs(float(edited.std()) - 0.5) < 0.015


def test_replacing_is_exact_for_independent_parts():
    gm = GaussianMixture([1.0], torch.tensor([[0.0, 0.4]], dtype=torch.float64), torch.tensor([[1.0, 0.25]])).denoiser(S)
    x = torch.randn(20_000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    picture, mask = torch.tensor([[1.5, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double()
    out = final(ddim(inpainted(gm, picture, mask), x, S, steps=200))
    assert torch.allclose(out[:, 0], torch.tensor(1.5).double()) and abs(float(out[:, 1].mean()) - 0.4) < 0.015
    assert abs(float(out[:, 1].std()) - 0.5) < 0.015


def test_replacing_is_biased_for_correlated_ones_and_less_with_fresh_noise():
    gm = GaussianMixture([1.0], torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])).denoiser(S)
    picture, mask, generator = torch.tensor([[1.5, 0.0]]).double(), torch.tensor([[0.0, 1.0]]).double(), torch.Generator().manual_seed(3)
    x = torch.randn(20_000, 2, dtype=torch.float64, generator=generator)
    means = [float(final(ddim(inpainted(gm, picture, mask), x, S, steps=100, eta=eta, generator=generator))[:, 1].mean()) for eta in (0.0, 1.0)]
    assert 0.6 < means[0] < 0.75 < 0.85 < means[1] < 1.0 < 0.9 * 1.5


def test_the_gaussian_round_trip_factor_to_all_digits():
    """Up and down on N(0, v): a product of cosines, with u_1 in place of u_0 on the first way up."""
    v = 0.25
    u = torch.stack([(S.alpha_bar * v).sqrt(), (1 - S.alpha_bar).sqrt()], 1)
    factor = 1.0
    for t, s in timesteps(1000, 20):
        start = max(s, 1)
        factor *= float(u[start] @ u[t] / (u[start] @ u[start]) * (u[s] @ u[t]) / (u[t] @ u[t]))
    x = torch.ones(1, 1, dtype=torch.float64)
    back = final(ddim(gaussian(0.0, v), final(invert(gaussian(0.0, v), x, S, steps=20)), S, steps=20))
    assert math.isclose(float(back), factor, rel_tol=1e-9) and factor < 0.95
