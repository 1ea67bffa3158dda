"""The transformer: shapes, conditioning, a start at zero, and its parts against independent routes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from diffusion_core import NULL, Schedule, zoo
from diffusion_core.dit import Block, DiT, DiTConfig, modulated, positions

CONFIGS = {
    "plain": DiTConfig(width=16, depth=2, heads=2, classes=3),
    "colour, two out": DiTConfig(in_channels=3, out_channels=6, patch=4, width=16, depth=1, heads=4, classes=3),
    "no label": DiTConfig(width=8, depth=1, heads=1),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def perturbed(config):
    """A network whose output is not zero: every parameter moved a little."""
    torch.manual_seed(0)
    net = DiT(config).eval()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.2 * torch.randn_like(p)
    return net


def inputs(config, n=2, side=16):
    return torch.randn(n, config.in_channels, side, side, generator=torch.Generator().manual_seed(1)), torch.arange(n) * 100 + 3


@every_config
@pytest.mark.parametrize("side", [(16, 16), (8, 24)])
def test_shape(config, side):
    x = torch.randn(2, config.in_channels, *side)
    assert perturbed(config)(x, torch.tensor([0, 999])).shape == (2, config.out_channels, *side)


@every_config
def test_output_starts_at_zero_and_every_parameter_can_learn(config):
    x, t = inputs(config)
    assert bool((DiT(config)(x, t) == 0).all())
    net = perturbed(config)
    (net(x, t, None if config.classes is None else torch.tensor([0, NULL])) ** 2).sum().backward()
    still = [name for name, p in net.named_parameters() if p.grad is None or not bool((p.grad != 0).any())]
    assert still == []


def test_a_block_starts_as_the_identity():
    block, x = Block(16, 2), torch.randn(2, 9, 16)
    assert torch.equal(block(x, torch.randn(2, 16)), x)


def test_no_scale_and_shift_leave_the_normalised_token():
    x, zero = 3 * torch.randn(2, 9, 16) + 1, torch.zeros(2, 1, 16)
    assert torch.allclose(modulated(x, zero, zero), nn.LayerNorm(16, eps=1e-6, elementwise_affine=False)(x), atol=1e-6)
    assert torch.allclose(modulated(x, zero + 5, zero + 1), 2 * modulated(x, zero, zero) + 5, atol=1e-5)


def test_attention_is_torchs():
    """Rows of qkv are all queries, all keys, all values, as in nn.MultiheadAttention."""
    torch.manual_seed(2)
    block, theirs, x = Block(16, 4), nn.MultiheadAttention(16, 4, batch_first=True), torch.randn(2, 9, 16)
    theirs.load_state_dict({"in_proj_weight": block.qkv.weight, "in_proj_bias": block.qkv.bias,
                            "out_proj.weight": block.out.weight, "out_proj.bias": block.out.bias})
    assert torch.allclose(block.attention(x), theirs(x, x, x, need_weights=False)[0], atol=1e-6)


def test_tokens_are_the_patches_in_reading_order():
    """Without blocks that mix tokens, a patch of the output depends on its own patch of the input alone."""
    net = perturbed(DiTConfig(patch=2, width=16, depth=1, heads=2))
    with torch.no_grad():
        net.blocks[0].out.weight.zero_()
        net.blocks[0].out.bias.zero_()
    x, t = torch.randn(1, 1, 8, 12, generator=torch.Generator().manual_seed(3)), torch.tensor([7])
    changed = x.clone()
    changed[:, :, 4:6, 2:4] += 1.0
    moved = (net(changed, t) - net(x, t)).abs()[0, 0] > 1e-6
    assert bool(moved[4:6, 2:4].all()) and int(moved.sum()) == 4


def test_positions_differ_and_say_row_and_column():
    p = positions(5, 7, 16)
    assert p.shape == (35, 16) and torch.cdist(p, p).fill_diagonal_(1.0).min() > 0.1
    grid = p.reshape(5, 7, 16)
    assert torch.equal(grid[:, :1, :8].expand(5, 7, 8), grid[..., :8]) and torch.equal(grid[:1, :, 8:].expand(5, 7, 8), grid[..., 8:])


def test_positions_tell_tokens_apart():
    """The same patch at another place gives another output; without positions it would not."""
    net, t = perturbed(CONFIGS["plain"]), torch.tensor([5])
    x = torch.randn(1, 1, 2, 2, generator=torch.Generator().manual_seed(4)).tile(1, 1, 4, 4)
    tokens = F.pixel_unshuffle(net(x, t), 2).flatten(2)
    assert (tokens - tokens[..., :1]).abs().max() > 1e-3


def test_label_and_time_matter_and_null_is_no_label():
    net = perturbed(CONFIGS["plain"])
    x, t = inputs(CONFIGS["plain"])
    outputs = [net(x, t, torch.tensor([label, label])) for label in (0, 1, NULL)]
    assert all((a - b).abs().max() > 1e-3 for a, b in ((outputs[0], outputs[1]), (outputs[0], outputs[2])))
    assert torch.equal(outputs[2], net(x, t)) and (net(x, t + 500) - net(x, t)).abs().max() > 1e-3
    mixed = net(x, t, torch.tensor([1, NULL]))
    assert torch.allclose(mixed[0], outputs[1][0], atol=1e-6) and torch.allclose(mixed[1], outputs[2][1], atol=1e-6)


@pytest.mark.parametrize("wrong", [{"width": 18}, {"width": 16, "heads": 3}, {"depth": 0}, {"patch": 0}, {"classes": 0}])
def test_a_config_that_does_not_fit_is_refused(wrong):
    with pytest.raises(ValueError, match=r"width must be a multiple|must be at least 1"):
        DiTConfig(**wrong)


@pytest.mark.parametrize(("x", "t", "cond"), [
    ((2, 1, 15, 16), (2,), None), ((2, 3, 16, 16), (2,), None), ((2, 1, 16, 16), (1,), None), ((2, 1, 16, 16), (2,), [0, 3]), ((2, 1, 16, 16), (2,), [0, -2])])
def test_bad_input_is_refused(x, t, cond):
    with pytest.raises(ValueError, match="x must be|t must have|labels must lie"):
        DiT(CONFIGS["plain"])(torch.zeros(x), torch.zeros(t, dtype=torch.long), cond and torch.tensor(cond))
    with pytest.raises(ValueError, match="no labels"):
        DiT(CONFIGS["no label"])(torch.zeros(2, 1, 16, 16), torch.zeros(2, dtype=torch.long), torch.tensor([0, 1]))


def test_saved_and_loaded_as_any_network(tmp_path):
    config = CONFIGS["plain"]
    card = {"kind": "diffusion", "architecture": "dit", "network": config.to_dict(), "schedule": {"name": "cosine", "T": 50}, "predicts": "v",
            "clip": None}
    zoo.save("small", perturbed(config), card, tmp_path)
    net, denoiser, _ = zoo.load("small", tmp_path)
    x, t = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(5)), torch.tensor([5, 5])
    assert isinstance(net, DiT) and torch.equal(denoiser(x, 6).v, net(x, t))
    assert torch.allclose(net(x, t), perturbed(config)(x, t), atol=1e-6)
    assert torch.equal(denoiser.schedule.alpha_bar, Schedule.cosine(50).alpha_bar)
    with pytest.raises(ValueError, match="architecture must be one of"):
        zoo.network_of(card | {"architecture": "mlp"})
