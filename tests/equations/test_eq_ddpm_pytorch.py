"""Checks of the equations of notebook 5.1, each by a route that does not use the formula it checks."""

import pytest
import torch
from bindings import checks
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffusion_core import UNetConfig
from diffusion_core.dit import Block
from diffusion_core.explorers.ema_half_life import moments, stationary_ratio
from diffusion_core.training import EMA
from diffusion_core.unet import Attention


def perturbed(layer):
    """The layer in float64, with all parameters moved, so that none that starts at 0 hides what it does."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in layer.double().parameters():
            p += 0.3 * torch.randn(p.shape, dtype=p.dtype, generator=generator)
    return layer


@checks("eq-practice-ddpm-equivariance")
def test_attention_of_moved_positions_is_moved_attention():
    """For the attention of both networks, in any order of positions; a convolution fails by far."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    attention = perturbed(Attention(16, UNetConfig(channels=8, groups=4, head_channels=8)))
    block, conv = perturbed(Block(16, 2)), perturbed(nn.Conv2d(16, 16, 3, padding=1))
    x = torch.randn(2, 16, 5, 6, dtype=torch.float64, generator=generator)
    for _ in range(5):
        order = torch.randperm(30, generator=generator)

        def moved(x, order=order):
            return x.flatten(2)[:, :, order].reshape(x.shape)

        assert torch.allclose(attention(moved(x)), moved(attention(x)), rtol=0, atol=1e-12)
        assert not torch.allclose(attention(moved(x)), attention(x), rtol=0, atol=0.1)  # the positions do get their own values
        tokens = x.flatten(2).transpose(1, 2)
        assert torch.allclose(block.attention(tokens[:, order]), block.attention(tokens)[:, order], rtol=0, atol=1e-12)
        assert not torch.allclose(conv(moved(x)), moved(conv(x)), rtol=0, atol=0.1)


@checks("eq-practice-ddpm-cost")
@pytest.mark.parametrize(("L", "d", "heads"), [(196, 68, 2), (49, 96, 4), (7, 8, 1), (1, 12, 3)])
def test_cost_of_a_block_is_what_pytorch_counts(L, d, heads):
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        Block(d, heads)(torch.zeros(1, L, d), torch.zeros(1, d))
    assert counter.get_total_flops() == 2 * (12 * L * d**2 + 2 * L**2 * d + 6 * d**2)


def one_weight(value):
    net = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(net.weight, value)
    return net


@checks("eq-practice-ddpm-ema")
@pytest.mark.parametrize("d", [0.0, 0.3, 0.9, 0.999])
def test_the_average_unrolled(d):
    """The core's class, its rise of the decay over, against powers of d."""
    path = torch.randn(60, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).tolist()
    net = one_weight(path[0])
    average = EMA(net, d)
    average.updates = 10**9
    for k, w in enumerate(path[1:], 1):
        nn.init.constant_(net.weight, w)
        average.update(net)
        unrolled = d**k * path[0] + (1 - d) * sum(d ** (k - j) * path[j] for j in range(1, k + 1))
        assert float(average.shadow.weight) == pytest.approx(unrolled, abs=1e-12)


@checks("eq-practice-ddpm-variance")
@pytest.mark.parametrize(("rate", "d"), [(0.05, 0.9), (0.3, 0.97), (1.0, 0.8), (1.5, 0.9), (0.1, 0.0)])
def test_variance_left_in_the_long_run(rate, d):
    """Against the covariance's own recursion, and against the double sum over all pairs of past weights."""
    _, variance = moments(rate, d, steps=3000, start=0.0)
    assert float(variance[-1, 1] / variance[-1, 0]) == pytest.approx(stationary_ratio(rate, d), rel=1e-10)
    age = torch.arange(2000, dtype=torch.float64)
    share = (1 - d) * d**age
    correlation = torch.as_tensor(1 - rate, dtype=torch.float64) ** (age[:, None] - age).abs()
    assert float(share @ correlation @ share) == pytest.approx(stationary_ratio(rate, d), rel=1e-10)


@checks("eq-practice-ddpm-lag")
@pytest.mark.parametrize(("slope", "d"), [(0.5, 0.9), (-2.0, 0.5), (1.0, 0.98)])
def test_the_average_of_a_moving_weight_is_late(slope, d):
    net = one_weight(0.0)
    average = EMA(net, d)
    average.updates = 10**9
    for k in range(1, 2001):
        nn.init.constant_(net.weight, slope * k)
        average.update(net)
    assert float((net.weight - average.shadow.weight).detach()) == pytest.approx(slope * d / (1 - d), rel=1e-9)
