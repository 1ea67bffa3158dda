"""Networks in diffusers' layout against its UNet2DModel 0.42.1, parameters all random: outputs to 1e-5 in float32 and 1e-11 in float64.

Its key list and counts for google/ddpm-cifar10-32 are those of the published checkpoint, in whose config.json the entries below are.
"""

import json

import pytest
import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from safetensors.torch import save_file

from diffusion_core import UNet, UNetConfig, zoo
from diffusion_core.interop import from_diffusers, to_diffusers

CIFAR10 = {
    "_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", "act_fn": "silu", "attention_head_dim": None,
    "block_out_channels": [128, 256, 256, 256], "center_input_sample": False,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"], "downsample_padding": 0, "flip_sin_to_cos": False,
    "freq_shift": 1, "in_channels": 3, "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-6, "norm_num_groups": 32,
    "out_channels": 3, "sample_size": 32, "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
}
SMALL = CIFAR10 | {"block_out_channels": [16, 32, 32, 32], "norm_num_groups": 8}
TWO = {"block_out_channels": [16, 32], "norm_num_groups": 8, "layers_per_block": 1, "attention_head_dim": 8,
       "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"]}
SCALED = TWO | {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 8}
CASES = {
    "ddpm-cifar10-32, narrower": SMALL,
    "its defaults, narrower": {"block_out_channels": [16, 32, 48, 64], "norm_num_groups": 8},
    "labels, scale and shift": SCALED | {"num_class_embeds": 5},
    "learned variance, cos first, shifted frequencies": TWO | {"out_channels": 6, "freq_shift": 1},
    "sin first, frequencies not shifted": TWO | {"flip_sin_to_cos": False, "downsample_padding": 0},
    "resolution changes in residual blocks": SCALED | {
        "block_out_channels": [16, 32, 32], "down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D", "DownBlock2D"],
        "up_block_types": ["ResnetUpsampleBlock2D", "AttnUpBlock2D", "UpBlock2D"], "downsample_type": "resnet", "upsample_type": "resnet"},
    "the same with attention at every level": TWO | {
        "down_block_types": ["AttnDownBlock2D"] * 2, "up_block_types": ["AttnUpBlock2D"] * 2, "downsample_type": "resnet",
        "upsample_type": "resnet"},
    "widths that are no multiples of the first": TWO | {"block_out_channels": [16, 24]},
}
every_case = pytest.mark.parametrize("config", CASES.values(), ids=CASES)


def randomised(net, seed=0):
    """Every parameter random, so that no layer is switched off by a zero: about what keeps activations of order 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            value = torch.randn(p.shape, generator=generator)
            p.copy_(value / p[0].numel() ** 0.5 if p.dim() > 1 else 0.3 * value + (p == 1))
    return net.eval()


def inputs(config, side=16):
    x = torch.randn(2, config.get("in_channels", 3), side, side, generator=torch.Generator().manual_seed(1))
    return x, torch.tensor([3, 987]), torch.tensor([1, 4]) if config.get("num_class_embeds") else None


def same_tensors(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_every_key_of_ddpm_cifar10_32_has_its_place():
    """328 keys, 35,746,307 parameters, without memory for them; and back, by name and shape."""
    with torch.device("meta"):
        theirs = UNet2DModel.from_config(CIFAR10)
    state = theirs.state_dict()
    net = from_diffusers(CIFAR10, state)
    assert len(state) == 328 and sum(p.numel() for p in net.parameters()) == 35_746_307
    assert {p.device.type for p in net.parameters()} == {"meta"}
    config, back = to_diffusers(net)
    assert {key: value.shape for key, value in back.items()} == {key: value.shape for key, value in state.items()}
    assert {key: (list(v) if isinstance(v, tuple) else v) for key, v in config.items() if key in CIFAR10} == \
        {key: v for key, v in CIFAR10.items() if key not in ("_diffusers_version", "sample_size")} | {"sample_size": None}


@every_case
@torch.no_grad()
def test_outputs(config):
    theirs = randomised(UNet2DModel(**config))
    x, t, labels = inputs(config)
    ours = from_diffusers(config, theirs.state_dict())
    expected = theirs(x, t, labels).sample
    assert expected.std() > 0.2
    assert (ours(x, t, labels) - expected).abs().max() < 1e-5
    expected = theirs.double()(x.double(), t, labels).sample
    assert (ours.double()(x.double(), t, labels) - expected).abs().max() < 1e-11


@torch.no_grad()
def test_older_names_of_attention():
    """As in checkpoints written before diffusers 0.15; a state that has both is refused."""
    theirs = randomised(UNet2DModel(**SMALL))
    state = theirs.state_dict()
    older = {key: value for key, value in state.items()}
    for key in state:
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            if f".{new}." in key:
                older[key.replace(f".{new}.", f".{old}.")] = older.pop(key)
    assert sum(".query." in key for key in older) == 12
    assert same_tensors(from_diffusers(SMALL, older).state_dict(), from_diffusers(SMALL, state).state_dict())
    with pytest.raises(ValueError, match="hold down_blocks.1.attentions.0.to_q.weight twice"):
        from_diffusers(SMALL, state | older)


@every_case
@torch.no_grad()
def test_export_of_what_was_read(config):
    """diffusers gets its own weights back, by a configuration that builds the same network."""
    theirs = randomised(UNet2DModel(**config))
    exported, state = to_diffusers(from_diffusers(config, theirs.state_dict()))
    assert same_tensors(state, theirs.state_dict())
    again = UNet2DModel(**exported).eval()
    again.load_state_dict(state)
    x, t, labels = inputs(config)
    assert torch.equal(again(x, t, labels).sample, theirs(x, t, labels).sample)


@torch.no_grad()
def test_the_shipped_network_goes_to_diffusers_and_back(tmp_path):
    """Through the files diffusers reads: folded pictures, the null class as the last label."""
    net, denoiser, _ = zoo.load("fashion")
    config, state = to_diffusers(net)
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(state, tmp_path / "diffusion_pytorch_model.safetensors")
    theirs = UNet2DModel.from_pretrained(tmp_path).eval()
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    t, labels = torch.tensor([0, 500, 999]), torch.tensor([2, 9, -1])
    out = theirs(F.pixel_unshuffle(x, 2), t, labels % 11).sample  # -1, the null class, is the last of 11
    assert (F.pixel_shuffle(out, 2) - net(x, t, labels)).abs().max() < 1e-5
    back = from_diffusers(json.loads((tmp_path / "config.json").read_text()), state)
    assert back.config == net.config and same_tensors(back.state_dict(), net.state_dict())


CONFIGS = {
    "the book's": UNetConfig(classes=10, patch=2),
    "no label": UNetConfig(channels=16, multipliers=(1, 2, 2), attention=(False, False, True), blocks=2, dropout=0.1),
    "labels without a null class": UNetConfig(classes=3, null_class=False, in_channels=3, out_channels=6),
    "single head, 2020": UNetConfig(head_channels=None, conditioning="add", resample="conv-end", sin_first=True, frequency_shift=1),
    "residual blocks": UNetConfig(multipliers=(1, 1.5), head_channels=16, resample="block", norm_eps=1e-6, attention=(True, False)),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_round_trip(config):
    """An equal configuration and equal tensors, none of them shared; through JSON as well."""
    net = randomised(UNet(config))
    exported, state = to_diffusers(net)
    back = from_diffusers(json.loads(json.dumps(exported)), state)
    assert back.config == net.config and same_tensors(back.state_dict(), net.state_dict())
    for tensor in (*state.values(), *back.state_dict().values()):
        tensor.zero_()
    assert same_tensors(net.state_dict(), randomised(UNet(config)).state_dict())


def test_a_number_of_heads_comes_back_as_their_width():
    net = UNet(UNetConfig(head_channels=None, heads=4))
    back = from_diffusers(*to_diffusers(net))
    assert (back.config.head_channels, back.config.heads) == (16, 1)
    assert [m.heads for m in back.modules() if hasattr(m, "heads")] == [4] * 4


def test_without_our_notes_it_is_the_inner_network():
    """Folded channels, and the null class as one class more."""
    config, state = to_diffusers(UNet(UNetConfig(patch=2, classes=10)))
    inner = from_diffusers({key: value for key, value in config.items() if key not in ("_patch", "_null_class")}, state).config
    assert (inner.in_channels, inner.patch, inner.classes, inner.null_class) == (4, 1, 11, False)


@pytest.mark.parametrize("message, options", [
    ("weighted = True has no counterpart", {"weighted": True}),
    ("multipliers = .2, 4. has no counterpart", {"multipliers": (2, 4)}),
    ("heads = 2 has no counterpart", {"head_channels": None, "heads": 2, "attention": (True, True)}),
])
def test_what_diffusers_cannot_hold_is_named(message, options):
    with pytest.raises(ValueError, match=message):
        to_diffusers(UNet(UNetConfig(**options)))
