"""Published layouts: what is refused, and how it is named. That what is accepted gives the right network: tests/parity/test_interop_*."""

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from diffusion_core import UNet, UNetConfig
from diffusion_core.interop import from_diffusers, from_guided, read_state, to_diffusers
from diffusion_core.interop.guided_layout import guided_config, guided_entries
from diffusion_core.interop.state import skeleton

GUIDED = {"image_size": 16, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2", "attention_resolutions": "8"}


def diffusers_pair():
    """A small network in diffusers' layout."""
    return to_diffusers(UNet(UNetConfig(channels=8, groups=4, head_channels=8, classes=3)))


def guided_pair():
    """Flags, and zeros in all their places."""
    return GUIDED, {name: torch.zeros(entry.shape) for entry in guided_entries(skeleton(guided_config(GUIDED))) for name in entry.theirs}


READERS = {"diffusers": (from_diffusers, diffusers_pair, "conv_in.bias", 8),
           "guided": (from_guided, guided_pair, "input_blocks.0.0.bias", 32)}
every_reader = pytest.mark.parametrize("reader, pair, key, width", READERS.values(), ids=READERS)


@every_reader
def test_keys_and_shapes_that_do_not_fit_are_all_named(reader, pair, key, width):
    config, state = pair()
    first, *_, last = state
    broken = {k: v for k, v in state.items() if k not in (first, last)} | {"ema.decay": torch.zeros(()), key: torch.zeros(3)}
    with pytest.raises(ValueError) as error:
        reader(config, broken)
    missing = sorted({first, last} - {key})
    assert f"missing {', '.join(missing)}; not expected ema.decay; of another shape {key}: (3,), not ({width},)" in str(error.value)
    assert "ema.decay" in broken and len(broken) == len(state) + 1 - len(missing)


@every_reader
def test_the_network_is_ready_and_its_own(reader, pair, key, width):
    """In evaluation mode, trainable, in the precision of the file, and no tensor shared with the state that was read."""
    config, state = pair()
    half = {name: tensor.half() for name, tensor in state.items()}
    net = reader(config, half)
    assert not net.training and all(p.requires_grad and p.dtype == torch.float16 for p in net.parameters())
    before = half[key].clone()
    with torch.no_grad():
        net.stem.bias += 1
    assert torch.equal(half[key], before) and torch.equal(net.stem.bias, before + 1)


@every_reader
def test_reading_draws_no_random_numbers(reader, pair, key, width):
    config, state = pair()
    before = torch.get_rng_state()
    reader(config, state)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("message, entries", [
    ("unknown entries in the config of a UNet2DModel: resnet_skip, sample", {"sample": 1, "resnet_skip": 2}),
    ("_class_name = 'UNet2DConditionModel' is not supported .* only 'UNet2DModel'", {"_class_name": "UNet2DConditionModel"}),
    ("center_input_sample = True is not supported .* only False", {"center_input_sample": True}),
    ("time_embedding_type = 'fourier' .* only 'positional'", {"time_embedding_type": "fourier"}),
    ("time_embedding_dim = 33 .* only None or 32", {"time_embedding_dim": 33}),
    ("mid_block_type = None", {"mid_block_type": None}),
    ("mid_block_scale_factor = 1.4 .* only 1", {"mid_block_scale_factor": 1.4}),
    ("act_fn = 'mish' .* only 'silu' or 'swish'", {"act_fn": "mish"}),
    ("add_attention = False", {"add_attention": False}),
    ("class_embed_type = 'timestep'", {"class_embed_type": "timestep"}),
    ("freq_shift = 2 .* only 0 or 1", {"freq_shift": 2}),
    ("downsample_padding = 2 .* only 0 or 1", {"downsample_padding": 2}),
    ("downsample_type = 'fir' .* only 'conv' or 'resnet'", {"downsample_type": "fir"}),
    ("upsample_type = 'fir'", {"upsample_type": "fir"}),
    ("resnet_time_scale_shift = 'spatial'", {"resnet_time_scale_shift": "spatial"}),
    ("attn_norm_num_groups = None is not supported .* only 4", {"attn_norm_num_groups": None}),
    ("norm_num_groups must be an int, got None", {"norm_num_groups": None, "resnet_time_scale_shift": "default"}),
    ("down_block_types = .* is not supported: one of DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D for each of 2",
     {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}),
    ("up_block_types = .* is not supported: .* for each of 2", {"up_block_types": ["AttnUpBlock2D"]}),
    ("up_block_types = .* is not supported: one of UpBlock2D", {"up_block_types": ["AttnDownBlock2D", "DownBlock2D"]}),
    ("are not supported together: attention must be at the same levels", {"up_block_types": ["UpBlock2D", "AttnUpBlock2D"]}),
    ("are not supported together: .* resolution change in one way", {"down_block_types": ["ResnetDownsampleBlock2D", "AttnDownBlock2D"]}),
    ("in_channels and out_channels must be multiples of _patch.2 = 9", {"_patch": 3}),
    ("7 channels divide neither into 4 groups", {"block_out_channels": [8, 7]}),
    ("16 channels divide neither into 4 groups nor heads of 3", {"attention_head_dim": 3}),
])
def test_a_config_the_network_cannot_follow_is_named(message, entries):
    config, state = diffusers_pair()
    with pytest.raises(ValueError, match=message):
        from_diffusers(config | entries, state)


@pytest.mark.parametrize("message, flags", [
    ("unknown flags of guided-diffusion: channels, num_resblocks", {"channels": 32, "num_resblocks": 2}),
    ("num_heads_upsample = 2 is not supported", {"num_heads": 4, "num_heads_upsample": 2}),
    ("image_size = 16 needs channel_mult; without it only 512, 256, 128, 64", {"channel_mult": ""}),
    ("channel_mult = '1;2' must be whole numbers with commas between them", {"channel_mult": "1;2"}),
    ("attention_resolutions = '' must be whole numbers", {"attention_resolutions": ""}),
    ("48 channels divide neither into 32 groups", {"num_channels": 48}),
    ("64 channels divide neither into 32 groups nor heads of 24", {"num_head_channels": 24}),
])
def test_flags_without_a_counterpart_are_named(message, flags):
    with pytest.raises(ValueError, match=message):
        from_guided(GUIDED | flags, guided_pair()[1])


def test_flags_left_out_have_their_defaults_and_those_of_the_process_are_accepted():
    config = guided_config({"noise_schedule": "cosine", "use_fp16": True, "diffusion_steps": 4000})
    assert config == UNetConfig(in_channels=3, out_channels=3, channels=128, multipliers=(1, 2, 3, 4), blocks=2, groups=32,
                                attention=(False, False, True, True), head_channels=None, heads=4)
    assert guided_config({"image_size": 512, "num_channels": 64, "num_head_channels": 16}).widths == (32, 64, 64, 128, 128, 256, 256)


# --- files

@pytest.fixture
def state():
    return {"a.weight": torch.arange(600.0).reshape(20, 30), "b": torch.ones(2, dtype=torch.float16)}


@pytest.mark.parametrize("ending", ["safetensors", "pt", "pth", "bin"])
def test_files_are_read(tmp_path, state, ending):
    path = tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(state, path)
    found = read_state(path)
    assert found.keys() == state.keys() and all(torch.equal(found[k], state[k]) and found[k].dtype == state[k].dtype for k in state)
    assert read_state(str(path)).keys() == state.keys()


class Malicious:
    """Creates a folder when it is unpickled, which shows that code was run."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))], ids=["torch", "pickle"])
@pytest.mark.parametrize("ending", ["pt", "pth", "bin"])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path, state, ending, write):
    trace, path = tmp_path / "trace", tmp_path / f"weights.{ending}"
    write(state | {"x": Malicious(trace)}, path)
    with pytest.raises(ValueError, match=f"weights.{ending} is refused: .* could run code") as error:
        read_state(path)
    assert not trace.exists() and "weights_only" not in str(error.value)
    torch.load(path, weights_only=False) if write is torch.save else pickle.loads(path.read_bytes())
    assert trace.exists()  # the file was a real attack


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
@pytest.mark.parametrize("kept", [0, 5, 100, -1, -300])
def test_a_truncated_file_is_named(tmp_path, state, ending, kept):
    path = tmp_path / f"weights.{ending}"
    (save_file if ending == "safetensors" else torch.save)(state, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError, match=f"weights.{ending} is (truncated|refused: it is damaged)"):
        read_state(path)


def test_a_file_of_older_torch_cut_off_anywhere_is_named(tmp_path, state):
    path = tmp_path / "weights.pt"
    torch.save(state, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    assert read_state(path).keys() == state.keys()
    for kept in range(0, len(raw), 97):
        path.write_bytes(raw[:kept])
        with pytest.raises(ValueError, match="weights.pt is (truncated|refused: it is damaged)"):
            read_state(path)


@pytest.mark.parametrize("value, kind", [([torch.ones(1)], "list"), ({"model": {"a": torch.ones(1)}}, "dict"), (torch.ones(1), "Tensor"),
                                         ({1: torch.ones(1)}, "dict")], ids=["list", "nested", "tensor", "numbered"])
def test_a_file_must_hold_tensors_by_name(tmp_path, value, kind):
    torch.save(value, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=f"weights.pt must hold tensors by name .* got a {kind}"):
        read_state(tmp_path / "weights.pt")


@pytest.mark.parametrize("name, found", [("weights.ckpt", ".ckpt"), ("weights.npz", ".npz"), ("weights", "a name without ending")])
def test_other_endings_are_refused(tmp_path, state, name, found):
    torch.save(state, tmp_path / name)
    with pytest.raises(ValueError, match=f"read from .safetensors, .pt, .pth or .bin, not {found}"):
        read_state(tmp_path / name)


@pytest.mark.parametrize("ending", ["safetensors", "pt", "ckpt"])
def test_a_file_that_is_not_there_is_named(tmp_path, ending):
    with pytest.raises(FileNotFoundError, match=f"no such file: .*weights.{ending}"):
        read_state(tmp_path / f"weights.{ending}")
