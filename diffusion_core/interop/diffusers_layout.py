"""The layout of diffusers' UNet2DModel (github.com/huggingface/diffusers), by the entries of its config.json, both ways."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..unet import UNet, UNetConfig
from .state import Entry, fill, rename, skeleton

# Every entry of config.json, with the value it has there when it is left out.
DEFAULTS = {
    "sample_size": None, "in_channels": 3, "out_channels": 3, "center_input_sample": False, "time_embedding_type": "positional",
    "time_embedding_dim": None, "freq_shift": 0, "flip_sin_to_cos": True,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"), "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"), "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2, "mid_block_scale_factor": 1, "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv",
    "dropout": 0.0, "act_fn": "silu", "attention_head_dim": 8, "norm_num_groups": 32, "attn_norm_num_groups": None, "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default", "add_attention": True, "class_embed_type": None, "num_class_embeds": None,
    "num_train_timesteps": None,
}
# Entries for which the book's network knows one value, and those whose values it knows.
ACCEPTED = {
    "center_input_sample": (False,), "time_embedding_type": ("positional",), "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,), "act_fn": ("silu", "swish"), "add_attention": (True,), "class_embed_type": (None,),
    "freq_shift": (0, 1), "downsample_padding": (0, 1), "downsample_type": ("conv", "resnet"), "upsample_type": ("conv", "resnet"),
    "resnet_time_scale_shift": ("default", "scale_shift"), "_class_name": ("UNet2DModel",),
}
# Names with an underscore are notes, which diffusers passes over: its own, and the two in which we keep what its layout cannot say.
NOTES = {"_class_name": "UNet2DModel", "_diffusers_version": None, "_name_or_path": None, "_commit_hash": None,
         "_use_default_values": None, "_patch": 1, "_null_class": False}
INNER = {"modulation": "time_emb_proj", "skip": "conv_shortcut", "norm": "group_norm", "out": "to_out.0"}
OLDER = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}  # attention's layers before diffusers 0.15


def from_diffusers(config: Mapping, state: Mapping[str, Tensor]) -> UNet:
    """The network of a diffusers UNet2DModel, in evaluation mode, from its config.json as a dict and its tensors by name, which are copied.

    An entry left out of config has its default there. The older names of attention's layers are accepted. Class embeddings become
    classes without a null class, unless `to_diffusers` noted that the last one is it. Raises ValueError naming an entry that is
    unknown or whose value the network cannot follow, and every missing or unexpected key or wrong shape.
    """
    net = skeleton(_read_config(config))
    return fill(net, _entries(net), _newer_names(state))


def to_diffusers(unet: UNet) -> tuple[dict, dict[str, Tensor]]:
    """(config, state) for diffusers: UNet2DModel(**config).load_state_dict(state), or written as config.json and
    diffusion_pytorch_model.safetensors. The tensors are copies.

    The null class becomes the last class embedding, to be asked for by its number. A network with patch > 1 becomes the one inside it,
    of folded pictures: it takes F.pixel_unshuffle(x, patch), and F.pixel_shuffle(its output, patch) is the network's. `from_diffusers`
    gives back an equal network, its configuration included: patch and null class come back from the notes _patch and _null_class in
    config, which diffusers passes over (without them it is the inner network, and a class more). The one thing it changes is `heads`
    above 1, which comes back as head_channels. Raises ValueError naming what has no counterpart in that layout.
    """
    config = _write_config(unet.config)
    state, ours = {}, unet.state_dict()
    for key, theirs, shape in _entries(unet):
        parts = ours[key].chunk(len(theirs))
        state |= {name: part.detach().reshape(shape).clone(memory_format=torch.contiguous_format)
                  for name, part in zip(theirs, parts, strict=True)}
    return config, state


def _read_config(given: Mapping) -> UNetConfig:
    if unknown := sorted(set(given) - set(DEFAULTS) - set(NOTES)):
        raise ValueError(f"unknown entries in the config of a UNet2DModel: {', '.join(unknown)}")
    c = DEFAULTS | NOTES | dict(given)
    for name, accepted in ACCEPTED.items():
        _require(c, name, accepted)
    if not isinstance(c["norm_num_groups"], int):
        raise ValueError(f"norm_num_groups must be an int, got {c['norm_num_groups']}")
    widths, groups, patch = tuple(c["block_out_channels"]), c["norm_num_groups"], c["_patch"]
    scales = c["resnet_time_scale_shift"] == "scale_shift"
    _require(c, "time_embedding_dim", (None, 4 * widths[0]))
    # With scale and shift, None leaves the attention of the middle without a normalisation.
    _require(c, "attn_norm_num_groups", (groups,) if scales else (None, groups))
    attention, resample = _read_blocks(c, len(widths))
    folded = {name: divmod(c[name], patch**2) for name in ("in_channels", "out_channels")}
    if any(rest for _, rest in folded.values()):
        raise ValueError(f"in_channels and out_channels must be multiples of _patch^2 = {patch**2}")
    return UNetConfig(
        in_channels=folded["in_channels"][0], out_channels=folded["out_channels"][0], patch=patch, channels=widths[0],
        multipliers=tuple(w // widths[0] if w % widths[0] == 0 else w / widths[0] for w in widths), blocks=c["layers_per_block"],
        attention=attention, head_channels=c["attention_head_dim"], groups=groups, norm_eps=c["norm_eps"],
        classes=None if c["num_class_embeds"] is None else c["num_class_embeds"] - bool(c["_null_class"]),
        null_class=c["num_class_embeds"] is None or bool(c["_null_class"]), dropout=c["dropout"],
        conditioning="scale-shift" if scales else "add", resample=resample, sin_first=not c["flip_sin_to_cos"],
        frequency_shift=c["freq_shift"])


def _read_blocks(c: Mapping, levels: int) -> tuple[tuple[bool, ...], str]:
    """Attention, level by level, and how resolution changes; both must be the same on both ways, and the latter between all levels."""
    down, up = list(c["down_block_types"]), list(c["up_block_types"])[::-1]
    kinds = {"DownBlock2D": (False, "conv"), "AttnDownBlock2D": (True, c["downsample_type"]), "ResnetDownsampleBlock2D": (False, "resnet"),
             "UpBlock2D": (False, "conv"), "AttnUpBlock2D": (True, c["upsample_type"]), "ResnetUpsampleBlock2D": (False, "resnet")}
    for name, types, way in (("down_block_types", down, "Down"), ("up_block_types", up, "Up")):
        if len(types) != levels or not all(t in kinds and way in t for t in types):
            known = ", ".join(t for t in kinds if way in t)
            raise ValueError(f"{name} = {c[name]} is not supported: one of {known} for each of {levels} block_out_channels")
    attention = tuple(kinds[t][0] for t in down)
    changes = {kinds[t][1] for t in down[:-1]} | {kinds[t][1] for t in up[1:]}
    if attention != tuple(kinds[t][0] for t in up) or len(changes) > 1:
        raise ValueError(f"down_block_types = {down} and up_block_types = {up[::-1]} are not supported together: attention must be at the "
                         "same levels, and resolution change in one way, by convolutions or by residual blocks (resnet)")
    return attention, "block" if "resnet" in changes else ("conv-end", "conv")[c["downsample_padding"]]


def _write_config(c: UNetConfig) -> dict:
    if c.weighted:
        raise ValueError("weighted = True has no counterpart in a UNet2DModel: the guidance weight is no input there")
    if c.multipliers[0] != 1:
        raise ValueError(f"multipliers = {c.multipliers} has no counterpart in a UNet2DModel: the first must be 1")
    attended = {w for w, has in zip(c.widths, [*c.attention[:-1], True], strict=True) if has}
    if c.head_channels is None and c.heads > 1 and len(attended) > 1:
        raise ValueError(f"heads = {c.heads} has no counterpart in a UNet2DModel: heads have one width there, not those of {attended}")
    single = None if c.heads == 1 else c.widths[-1] // c.heads
    plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if c.resample == "block" else ("DownBlock2D", "UpBlock2D")
    change = "resnet" if c.resample == "block" else "conv"
    config = DEFAULTS | {
        "_class_name": "UNet2DModel", "in_channels": c.in_channels * c.patch**2, "out_channels": c.out_channels * c.patch**2,
        "freq_shift": c.frequency_shift, "flip_sin_to_cos": not c.sin_first, "block_out_channels": c.widths, "layers_per_block": c.blocks,
        "down_block_types": tuple("AttnDownBlock2D" if has else plain[0] for has in c.attention),
        "up_block_types": tuple("AttnUpBlock2D" if has else plain[1] for has in reversed(c.attention)),
        "downsample_padding": 0 if c.resample == "conv-end" else 1, "downsample_type": change, "upsample_type": change,
        "dropout": c.dropout, "attention_head_dim": c.head_channels or single, "norm_num_groups": c.groups,
        "attn_norm_num_groups": c.groups if c.conditioning == "scale-shift" else None, "norm_eps": c.norm_eps,
        "resnet_time_scale_shift": "scale_shift" if c.conditioning == "scale-shift" else "default",
        "num_class_embeds": None if c.classes is None else c.classes + c.null_class,
    }
    notes = {"_patch": c.patch} if c.patch > 1 else {}
    return config | notes | ({"_null_class": True} if c.classes is not None and c.null_class else {})


def _entries(net: UNet) -> list[Entry]:
    config, n = net.config, 0
    prefixes = {"time.0": "time_embedding.linear_1", "time.2": "time_embedding.linear_2", "label": "class_embedding", "stem": "conv_in",
                "middle.0.block": "mid_block.resnets.0", "middle.0.attention": "mid_block.attentions.0",
                "middle.1.block": "mid_block.resnets.1", "norm": "conv_norm_out", "head": "conv_out"}
    for level in range(len(config.widths)):
        for b in range(config.blocks):
            there = f"down_blocks.{level}"
            prefixes |= {f"down.{n}.block": f"{there}.resnets.{b}", f"down.{n}.attention": f"{there}.attentions.{b}"}
            n += 1
        prefixes[f"down.{n}"] = f"down_blocks.{level}.downsamplers.0"
        n += 1
        for b in range(config.blocks + 1):  # up's levels are counted from the lowest in both
            here, there = f"up.{level}.stages.{b}", f"up_blocks.{level}"
            prefixes |= {f"{here}.block": f"{there}.resnets.{b}", f"{here}.attention": f"{there}.attentions.{b}"}
        prefixes[f"up.{level}.resize"] = f"up_blocks.{level}.upsamplers.0"
    entries = []
    for key, tensor in net.state_dict().items():
        name, shape = rename(key, prefixes, INNER), tuple(tensor.shape)
        parts = (name,)
        if ".attention." in key:  # linear layers there, and one each for queries, keys and values
            parts = tuple(name.replace("qkv", part) for part in ("to_q", "to_k", "to_v")) if "qkv" in key else parts
            shape = (shape[0] // len(parts), *shape[1:2])
        entries.append(Entry(key, parts, shape))
    return entries


def _newer_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for key, tensor in state.items():
        module, _, parameter = key.rpartition(".")
        block, _, layer = module.rpartition(".")
        new = f"{block}.{OLDER[layer]}.{parameter}" if ".attentions." in key and layer in OLDER else key
        if new in renamed:
            raise ValueError(f"the weights hold {new} twice, under its older name as well")
        renamed[new] = tensor
    return renamed


def _require(c: Mapping, name: str, accepted: tuple) -> None:
    if c[name] not in accepted:
        raise ValueError(f"{name} = {c[name]!r} is not supported in the config of a UNet2DModel: only {' or '.join(map(repr, accepted))}")
