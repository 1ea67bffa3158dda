"""The UNet: shapes, conditioning, and a start at zero."""

import pytest
import torch
from torch import nn

from diffusion_core import NULL, UNet, UNetConfig
from diffusion_core.unet import timestep_embedding

CONFIGS = {
    "plain": UNetConfig(channels=8, groups=4, head_channels=8, classes=3),
    "patch": UNetConfig(channels=8, groups=4, head_channels=8, classes=3, patch=2),
    "colour, two out": UNetConfig(in_channels=3, out_channels=6, channels=8, groups=4, head_channels=8, classes=3),
    "three levels": UNetConfig(channels=8, multipliers=(1, 2, 2), attention=(False, True, True), blocks=2, groups=4, head_channels=8,
                               classes=3),
    "no label": UNetConfig(channels=8, groups=4, head_channels=8),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def perturbed(config):
    """A network whose output is not zero: every parameter moved a little."""
    torch.manual_seed(0)
    net = UNet(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.1 * torch.randn_like(p)
    return net


def inputs(config, n=2, side=16):
    x = torch.randn(n, config.in_channels, side, side, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(n) * 100 + 3


@every_config
@pytest.mark.parametrize("side", [(16, 16), (8, 24)])
def test_shape(config, side):
    x = torch.randn(2, config.in_channels, *side)
    assert UNet(config)(x, torch.tensor([0, 999])).shape == (2, config.out_channels, *side)


@every_config
def test_output_starts_at_zero_and_every_parameter_can_learn(config):
    net = UNet(config)
    x, t = inputs(config)
    assert bool((net(x, t) == 0).all())
    cond = None if config.classes is None else torch.tensor([0, 1])
    net = perturbed(config)
    (net(x, t, cond) ** 2).sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert without == []


def test_no_condition_is_null_in_every_row():
    config = CONFIGS["plain"]
    net, (x, t) = perturbed(config), inputs(config)
    assert torch.equal(net(x, t), net(x, t, torch.full((2,), NULL)))
    mixed = net(x, t, torch.tensor([NULL, 2]))
    assert torch.allclose(mixed[0], net(x, t)[0], atol=1e-5) and not torch.allclose(mixed[1], net(x, t)[1], atol=1e-3)


@every_config
def test_time_and_label_matter(config):
    net, (x, t) = perturbed(config), inputs(config)
    outputs = [net(x, t + k) for k in (0, 1, 500)]
    if config.classes:
        outputs += [net(x, t, torch.full((2,), y)) for y in range(config.classes)]
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert (a - b).abs().max() > 1e-4


@every_config
def test_rows_do_not_see_each_other(config):
    net, (x, t) = perturbed(config), inputs(config, n=3)
    assert torch.allclose(net(x, t)[1:2], net(x[1:2], t[1:2]), atol=1e-5)


def test_every_pixel_sees_every_pixel():
    """Attention at the lower level: a change in one corner moves the opposite one."""
    net, (x, t) = perturbed(CONFIGS["plain"]), inputs(CONFIGS["plain"])
    moved = x.clone()
    moved[:, :, 0, 0] += 5
    assert (net(moved, t) - net(x, t))[:, :, -1, -1].abs().min() > 1e-6


def test_dropout_acts_in_training_only():
    config = UNetConfig(**CONFIGS["plain"].to_dict() | {"dropout": 0.5})
    net, (x, t) = perturbed(config), inputs(config)
    assert torch.equal(net(x, t), net(x, t))
    net.train()
    assert not torch.equal(net(x, t), net(x, t))


def test_layout():
    """The recommended network for 28 x 28: 0.76 M parameters, the null class last, a head for each 32 channels."""
    net = UNet(UNetConfig(patch=2, classes=10))
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(0.76e6, rel=0.01)
    assert net.label.num_embeddings == 11
    assert [m.heads for m in net.modules() if type(m).__name__ == "Attention"] == [2] * 4
    assert net.stem.in_channels == net.head.out_channels == 4


def test_config_goes_through_plain_values():
    config = CONFIGS["three levels"]
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in config.to_dict().items()}
    assert UNetConfig(**plain) == config


def test_timestep_embedding():
    """cos first, frequencies from 1 towards 1/10000."""
    e = timestep_embedding(torch.tensor([0, 1, 7]), 8)
    frequencies = 10_000 ** (-torch.arange(4) / 4)
    assert torch.allclose(e[2], torch.cat([(7 * frequencies).cos(), (7 * frequencies).sin()]), atol=1e-6)
    assert torch.equal(e[0], torch.tensor([1.0] * 4 + [0.0] * 4)) and e.shape == (3, 8)


def test_double_precision_goes_through():
    net = perturbed(CONFIGS["plain"]).double()
    x, t = inputs(CONFIGS["plain"])
    assert net(x.double(), t).dtype == torch.float64


def test_zeroed_layers_are_the_last_of_their_blocks():
    """Each residual branch starts as nothing: a new network's stages are the identity up to their skips."""
    net = UNet(CONFIGS["plain"])
    zero = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d) and not bool(m.weight.any())]
    assert all(name.endswith(("conv2", "attention.out", "head")) for name in zero)
    assert len(zero) == sum(type(m).__name__ in ("ResBlock", "Attention") for m in net.modules()) + 1
