"""Classifier-free guidance where both predictions are known exactly."""

import math

import pytest
import torch

from diffusion_core import NULL, GaussianMixture, NetworkDenoiser, Schedule, ddim, ddpm, final, guided

SCHEDULE = Schedule.cosine(1000)
COND = torch.tensor([0, 1, 1, 0, 1])


def two_classes():
    """Classes at +-1, standard deviation .5."""
    means = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    return GaussianMixture(torch.ones(2), means, torch.tensor([0.25, 0.25]), torch.tensor([0, 1]))


def x_t():
    return torch.linspace(-2, 2, 5, dtype=torch.float64)[:, None]


@pytest.mark.parametrize("t", [1, 500, 1000, torch.tensor([1, 2, 500, 999, 1000])], ids=["1", "500", "1000", "a row"])
def test_w_0_is_the_conditional_model_bit_for_bit(t):
    denoiser = two_classes().denoiser(SCHEDULE)
    ours, plain = guided(denoiser, 0.0)(x_t(), t, COND), denoiser(x_t(), t, COND)
    assert torch.equal(ours.x0, plain.x0) and torch.equal(ours.eps, plain.eps) and torch.equal(ours.v, plain.v)


def test_w_0_samples_the_conditional_model_bit_for_bit():
    """In float32 with a network that predicts eps, where taking 1 x0 - 0 x0_null after a second call would change the last bits."""
    weight = torch.randn(3, generator=torch.Generator().manual_seed(0))

    def net(x, t, cond):
        label = 0.0 if cond is None else cond[:, None].float()
        return torch.tanh(weight[0] * x + weight[1] * label + weight[2] * t[:, None] / 1000)

    denoiser = NetworkDenoiser(net, SCHEDULE, "eps", clip=1.0)
    runs = [final(ddim(d, x_t().float(), SCHEDULE, steps=7, cond=COND)) for d in (guided(denoiser, 0), denoiser)]
    assert torch.equal(*runs)


@pytest.mark.parametrize("t", [1, 500, 1000])
def test_w_minus_1_is_the_unconditional_model(t):
    denoiser = two_classes().denoiser(SCHEDULE)
    ours, plain = guided(denoiser, -1.0)(x_t(), t, COND), denoiser(x_t(), t)
    assert torch.allclose(ours.x0, plain.x0, rtol=0, atol=1e-14)
    assert not torch.allclose(ours.x0, denoiser(x_t(), t, COND).x0, atol=1e-3) or t == 1


@pytest.mark.parametrize("w", [-2.0, 0.5, 1.0, 7.0])
@pytest.mark.parametrize("what", ["x0", "eps", "v", "score"])
@pytest.mark.parametrize("t", [3, 400, 990])
def test_affine_in_w_in_every_reading(what, w, t):
    """(1 + w) conditional - w unconditional: for eps (equation 6 of Ho & Salimans 2022), and so for x0, v and the score."""
    denoiser = two_classes().denoiser(SCHEDULE)
    cond, null = (getattr(denoiser(x_t(), t, y), what) for y in (COND, None))
    ours = getattr(guided(denoiser, w)(x_t(), t, COND), what)
    assert torch.allclose(ours, (1 + w) * cond - w * null, rtol=1e-9, atol=1e-9)


def test_null_is_used_in_place_of_the_condition():
    denoiser = two_classes().denoiser(SCHEDULE)
    x, t = x_t(), 600
    ours = guided(denoiser, 2.0, null=0)(x, t, torch.ones(5, dtype=torch.long)).x0
    y1, y0 = (denoiser(x, t, torch.full((5,), y)).x0 for y in (1, 0))
    assert torch.allclose(ours, 3 * y1 - 2 * y0, atol=1e-12)
    assert torch.equal(guided(denoiser, 2.0, null=NULL)(x, t, COND).x0, guided(denoiser, 2.0)(x, t, COND).x0)


def test_one_batched_call_a_step():
    denoiser, sizes = two_classes().denoiser(SCHEDULE), []

    def counted(x, t, cond=None):
        sizes.append((len(x), cond.tolist()))
        return denoiser(x, t, cond)

    counted.schedule = SCHEDULE
    final(ddim(guided(counted, 1.5), x_t(), SCHEDULE, steps=4, cond=COND))
    assert sizes == [(10, [0, 1, 1, 0, 1] + [NULL] * 5)] * 4
    sizes.clear()
    final(ddim(guided(counted, 0), x_t(), SCHEDULE, steps=4, cond=COND))
    assert sizes == [(5, COND.tolist())] * 4  # w = 0 needs no second half


def tilted_moments(w):
    """Mean and standard deviation of the density proportional to p(x) p(y = 1 | x)^(1 + w), by quadrature."""
    x = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    parts = [torch.exp(-((x - m) ** 2) / 0.5) for m in (-1.0, 1.0)]
    p = sum(parts) * (parts[1] / sum(parts)) ** (1 + w)
    p /= torch.trapezoid(p, x)
    mean = torch.trapezoid(x * p, x)
    return mean.item(), torch.trapezoid((x - mean) ** 2 * p, x).sqrt().item()


def test_what_guidance_samples():
    """Classes at +-1, sd .5, w = 3: mean and sd 1.06, .45 of the tilted density, 1.68, .29 of the ODE, 1.28, .43 of the SDE: all differ.

    The ODE starts from the quantiles of N(0, 1), so it has no sampling error.
    """
    w, denoiser = 3.0, guided(two_classes().denoiser(SCHEDULE), 3.0)
    assert tilted_moments(w) == pytest.approx((1.06, 0.45), abs=0.006)
    u = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    x = (math.sqrt(2) * torch.erfinv(2 * u - 1))[:, None]
    ode = final(ddim(denoiser, x, SCHEDULE, steps=250, cond=1))
    assert (ode.mean().item(), ode.std().item()) == pytest.approx((1.68, 0.29), abs=0.02)
    sde = final(ddpm(denoiser, x.repeat(4, 1), SCHEDULE, steps=500, cond=1, generator=torch.Generator().manual_seed(0)))
    assert (sde.mean().item(), sde.std().item()) == pytest.approx((1.28, 0.43), abs=0.03)
