"""The layout of guided-diffusion's UNetModel (Dhariwal & Nichol 2021, github.com/openai/guided-diffusion), by its own flags."""

from collections.abc import Mapping

from torch import Tensor

from ..unet import UNet, UNetConfig
from .state import Entry, fill, rename, skeleton

CLASSES = 1000  # of every class-conditional network there
# Flags that shape the network, with that project's defaults.
NETWORK = {"image_size": 64, "num_channels": 128, "num_res_blocks": 2, "num_heads": 4, "num_heads_upsample": -1, "num_head_channels": -1,
           "attention_resolutions": "16,8", "channel_mult": "", "dropout": 0.0, "class_cond": False, "learn_sigma": False,
           "use_scale_shift_norm": True, "resblock_updown": False, "use_new_attention_order": False}
# Flags that say how it is run or trained, not what it is: precision, memory, and the diffusion process around it.
PROCESS = ("use_checkpoint", "use_fp16", "diffusion_steps", "noise_schedule", "timestep_respacing", "use_kl", "predict_xstart",
           "rescale_timesteps", "rescale_learned_sigmas")
MULTIPLIERS = {512: (0.5, 1, 1, 2, 2, 4, 4), 256: (1, 1, 2, 2, 4, 4), 128: (1, 1, 2, 3, 4), 64: (1, 2, 3, 4)}  # by image_size
INNER = {"norm1": "in_layers.0", "conv1": "in_layers.2", "modulation": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
         "skip": "skip_connection", "out": "proj_out"}


def from_guided(flags: Mapping, state: Mapping[str, Tensor]) -> UNet:
    """The network of a guided-diffusion checkpoint, in evaluation mode, from its flags (by their names there; one left out has its
    default there) and its tensors by name, which are copied.

    Labels are 0 .. 999, there is no null class, and 6 output channels mean a learned variance (`NetworkDenoiser` splits them). The
    legacy order of attention, in which each head has its own queries, keys and values, is turned into the new one. Flags of the
    process (`noise_schedule`, ..) are accepted and belong in the `Schedule`: published ones have T = 1000, predict eps, and are linear or
    cosine. Raises ValueError naming a flag that is unknown or of no use here, and every missing or unexpected key or wrong shape.
    """
    config = guided_config(flags)
    net = skeleton(config)
    heads = {f"{name}.qkv": layer.heads for name, layer in net.named_modules() if hasattr(layer, "heads")}

    def new_order(name: str, tensor: Tensor) -> Tensor:
        n = heads.get(name.rpartition(".")[0])  # rows run over head, then q k v, then channel; wanted: q k v, head, channel
        return tensor if n is None else tensor.unflatten(0, (n, 3, -1)).transpose(0, 1).flatten(0, 2)

    return fill(net, guided_entries(net), state, None if flags.get("use_new_attention_order") else new_order)


def guided_config(flags: Mapping) -> UNetConfig:
    """The configuration that the flags describe; raises ValueError naming a flag that is unknown, or whose value has no counterpart."""
    if unknown := sorted(set(flags) - set(NETWORK) - set(PROCESS)):
        raise ValueError(f"unknown flags of guided-diffusion: {', '.join(unknown)}")
    f = NETWORK | {name: value for name, value in flags.items() if name in NETWORK}
    if f["num_head_channels"] == -1 and f["num_heads_upsample"] not in (-1, f["num_heads"]):
        raise ValueError(f"num_heads_upsample = {f['num_heads_upsample']} is not supported: heads are the same on both ways, so -1")
    if not f["channel_mult"] and f["image_size"] not in MULTIPLIERS:
        raise ValueError(f"image_size = {f['image_size']} needs channel_mult; without it only {', '.join(map(str, MULTIPLIERS))}")
    multipliers = _numbers(f, "channel_mult") if f["channel_mult"] else MULTIPLIERS[f["image_size"]]
    factors = {f["image_size"] // side for side in _numbers(f, "attention_resolutions")}
    return UNetConfig(
        in_channels=3, out_channels=6 if f["learn_sigma"] else 3, channels=f["num_channels"], multipliers=multipliers,
        blocks=f["num_res_blocks"], attention=tuple(2**level in factors for level in range(len(multipliers))),
        head_channels=None if f["num_head_channels"] == -1 else f["num_head_channels"], groups=32,
        heads=f["num_heads"] if f["num_head_channels"] == -1 else 1,
        classes=CLASSES if f["class_cond"] else None, null_class=not f["class_cond"], dropout=f["dropout"],
        conditioning="scale-shift" if f["use_scale_shift_norm"] else "add", resample="block" if f["resblock_updown"] else "conv")


def _numbers(f: Mapping, name: str) -> tuple[int, ...]:
    if not all(part.isdecimal() and int(part) for part in f[name].split(",")):
        raise ValueError(f"{name} = {f[name]!r} must be whole numbers with commas between them, such as '32,16,8'")
    return tuple(map(int, f[name].split(",")))


def guided_entries(net: UNet) -> list[Entry]:
    """Where each tensor of the network is in that layout: three numbered lists of layers, the one that changes resolution on the way up
    being last in its block; attention has convolutions over one dimension."""
    config = net.config
    prefixes = {"time": "time_embed", "label": "label_emb", "stem": "input_blocks.0.0", "middle.0.block": "middle_block.0",
                "middle.0.attention": "middle_block.1", "middle.1.block": "middle_block.2", "norm": "out.0", "head": "out.2"}
    for n in range(len(net.down)):  # a level's last entry, which changes the resolution, has neither .block nor .attention
        there = f"input_blocks.{n + 1}"
        prefixes |= {f"down.{n}": f"{there}.0", f"down.{n}.conv": f"{there}.0.op", f"down.{n}.block": f"{there}.0",
                     f"down.{n}.attention": f"{there}.1"}
    for i, has_attention in enumerate(reversed(config.attention)):
        for b in range(config.blocks + 1):
            there = f"output_blocks.{i * (config.blocks + 1) + b}"
            prefixes |= {f"up.{i}.stages.{b}.block": f"{there}.0", f"up.{i}.stages.{b}.attention": f"{there}.1"}
        prefixes[f"up.{i}.resize"] = f"{there}.{2 if has_attention else 1}"
    return [Entry(key, (rename(key, prefixes, INNER),), tuple(tensor.shape[:3] if ".attention." in key else tensor.shape))
            for key, tensor in net.state_dict().items()]
