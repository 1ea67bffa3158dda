"""The UNet: shapes, conditioning, and a start at zero."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffusion_core import NULL, UNet, UNetConfig
from diffusion_core.unet import Down, ResBlock, timestep_embedding

CONFIGS = {
    "plain": UNetConfig(channels=8, groups=4, head_channels=8, classes=3),
    "patch": UNetConfig(channels=8, groups=4, head_channels=8, classes=3, patch=2),
    "colour, two out": UNetConfig(in_channels=3, out_channels=6, channels=8, groups=4, head_channels=8, classes=3),
    "three levels": UNetConfig(channels=8, multipliers=(1, 2, 2), attention=(False, True, True), blocks=2, groups=4, head_channels=8,
                               classes=3),
    "no label": UNetConfig(channels=8, groups=4, head_channels=8),
    "as in 2020": UNetConfig(channels=8, groups=4, head_channels=None, norm_eps=1e-6, conditioning="add", resample="conv-end",
                             sin_first=True, frequency_shift=1),
    "as in 2021": UNetConfig(in_channels=3, out_channels=6, channels=8, multipliers=(1, 1.5, 2), attention=(False, True, False),
                             groups=4, head_channels=4, classes=3, resample="block"),
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


@pytest.mark.parametrize("attention", [(False, True), (False, False)])
def test_every_pixel_sees_every_pixel(attention):
    """By attention, which the middle always has: a change in one corner moves the opposite one, too far away for the convolutions.

    Without the norms, whose statistics are of the whole picture.
    """
    config = UNetConfig(**CONFIGS["plain"].to_dict() | {"attention": attention})
    net, (x, t) = perturbed(config), inputs(config, side=96)
    for layer in net.modules():
        if isinstance(layer, nn.GroupNorm):
            layer.forward = lambda h: h
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


def test_timestep_embedding_with_sin_first_and_the_frequencies_of_2020():
    """Ho et al. 2020: the last of the frequencies is 1/10000 itself."""
    e = timestep_embedding(torch.tensor([7]), 8, sin_first=True, frequency_shift=1)[0]
    frequencies = torch.tensor([1, 10_000 ** (-1 / 3), 10_000 ** (-2 / 3), 1e-4])
    assert torch.allclose(e, torch.cat([(7 * frequencies).sin(), (7 * frequencies).cos()]), atol=1e-6)


def test_heads_by_width_or_by_number():
    def heads(**options):
        net = UNet(UNetConfig(channels=16, multipliers=(1, 2), attention=(True, True), **options))
        return [m.heads for m in net.modules() if type(m).__name__ == "Attention"]

    assert heads(head_channels=8) == [2, 4, 4, 4, 4, 2, 2]
    assert heads(head_channels=None, heads=4) == [4] * 7 and heads(head_channels=None) == [1] * 7


def test_a_residual_block_adds_or_scales_and_shifts():
    """Against both formulas written out; the last norm of the 2020 block comes after the addition."""
    x, embedding = torch.randn(2, 8, 4, 4), torch.randn(2, 16)
    for conditioning in ("scale-shift", "add"):
        torch.manual_seed(0)
        block = ResBlock(8, 8, 16, UNetConfig(channels=8, head_channels=8, groups=4, conditioning=conditioning))
        for p in block.parameters():
            nn.init.normal_(p)
        h, m = block.conv1(F.silu(block.norm1(x))), block.modulation(F.silu(embedding))[:, :, None, None]
        h = block.norm2(h + m) if conditioning == "add" else block.norm2(h) * (1 + m[:, :8]) + m[:, 8:]
        assert torch.allclose(block(x, embedding), x + block.conv2(F.silu(h)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("resize", [nn.AvgPool2d(2), nn.Upsample(scale_factor=2.0)], ids=["down", "up"])
def test_a_new_block_between_levels_only_resizes(resize):
    block = ResBlock(8, 8, 16, UNetConfig(channels=8, head_channels=8, groups=4), resize)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(block(x, torch.randn(2, 16)), resize(x))
    nn.init.ones_(block.conv2.weight)
    assert block(x, torch.randn(2, 16)).shape == resize(x).shape


def test_padding_at_the_end_shifts_the_grid():
    """conv-end looks at rows 2i .. 2i + 2, conv at 2i - 1 .. 2i + 1."""
    x = torch.zeros(1, 1, 8, 8)
    x[..., 2, 2] = 1
    seen = {}
    for at_end in (False, True):
        layer = Down(1, at_end)
        nn.init.ones_(layer.conv.weight), nn.init.zeros_(layer.conv.bias)
        seen[at_end] = layer(x, x)[0, 0].nonzero().tolist()
    assert seen == {False: [[1, 1]], True: [[0, 0], [0, 1], [1, 0], [1, 1]]}


def test_without_a_null_class_every_picture_needs_a_label():
    config = UNetConfig(**CONFIGS["plain"].to_dict() | {"null_class": False})
    net, (x, t) = perturbed(config), inputs(config)
    assert net.label.num_embeddings == 3 and net(x, t, torch.tensor([0, 2])).shape == x.shape
    for cond in (None, torch.tensor([0, NULL])):
        with pytest.raises(ValueError, match="0 .. 2, one for every picture: this network has no null class, got"):
            net(x, t, cond)


@pytest.mark.parametrize("message, options", [
    ("conditioning must be one of .*'scale-shift', 'add'.*, got 'film'", {"conditioning": "film"}),
    ("resample must be one of .*'conv', 'conv-end', 'block'.*, got 'fir'", {"resample": "fir"}),
    ("frequency_shift must be one of .0, 1., got 2", {"frequency_shift": 2}),
    ("channels must be even and at least 4, .* got 3", {"channels": 3, "groups": 3, "head_channels": None}),
    ("64 channels divide neither into 8 groups nor 3 heads", {"head_channels": None, "heads": 3}),
    ("57.6 channels", {"multipliers": (1, 1.8)}),
    ("0 channels", {"multipliers": (0, 1)}),
    ("head_channels must be at least 1, got 0", {"head_channels": 0}),
    ("classes must be at least 1, got 0", {"classes": 0}),
    ("patch must be at least 1, got 0", {"patch": 0}),
])
def test_values_that_fit_no_network_are_named(message, options):
    with pytest.raises(ValueError, match=message):
        UNetConfig(**options)


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
