"""What the layouts share: reading a file of tensors, and a table of names that says where each tensor of a `UNet` is in a layout."""

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..unet import UNet, UNetConfig


class Entry(NamedTuple):
    """One tensor of our network in another layout: its name here, those of its parts there (one below the other), the shape of each."""

    ours: str
    theirs: tuple[str, ...]
    shape: tuple[int, ...]


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of a .pt, .pth or .bin file, on the CPU, by name.

    The latter are pickles, which may hold code: they go through PyTorch's weights-only reader, which runs none. Raises ValueError for
    another ending, a truncated file, or one that holds anything but tensors by name; FileNotFoundError where there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is truncated or no safetensors file: {error}") from error
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise ValueError(f"{path}: weights are read from .safetensors, .pt, .pth or .bin, not {path.suffix or 'a name without ending'}")
    with path.open("rb") as file:
        try:
            state = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # its text advises to switch the protection off, so it is not passed on
            raise ValueError(f"{path} is refused: it is damaged, or holds objects other than tensors, which could run code") from None
        except Exception as error:  # a file cut off anywhere stops its reader in many ways: EOFError, KeyError, struct.error ..
            raise ValueError(f"{path} is truncated or no PyTorch file: {type(error).__name__}: {error}") from error
    if not isinstance(state, Mapping) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise ValueError(f"{path} must hold tensors by name (a state dict) and nothing else, got a {type(state).__name__}")
    return dict(state)


def skeleton(config: UNetConfig) -> UNet:
    """The network without values: all its tensors on the meta device."""
    with torch.device("meta"):
        return UNet(config)


def rename(key: str, prefixes: Mapping[str, str], inner: Mapping[str, str]) -> str:
    """The other layout's name of our tensor: its longest prefix in `prefixes` replaced, and the layer's name behind it by `inner`."""
    prefix = max((p for p in prefixes if key.startswith(f"{p}.")), key=len)
    layer, _, parameter = key.removeprefix(f"{prefix}.").rpartition(".")
    return ".".join(filter(None, [prefixes[prefix], inner.get(layer, layer), parameter]))


def fill(net: UNet, entries: list[Entry], state: Mapping[str, Tensor], change: Callable[[str, Tensor], Tensor] | None = None) -> UNet:
    """The network with copies of the tensors of `state` (whatever their device and dtype), in evaluation mode.

    change(our name, tensor) may alter each on the way. Raises ValueError naming every key that is missing or has no place, and every
    tensor of another shape.
    """
    wanted = {name: entry.shape for entry in entries for name in entry.theirs}
    problems = {
        "missing": sorted(wanted.keys() - state.keys()),
        "not expected": sorted(state.keys() - wanted.keys()),
        "of another shape": [f"{k}: {tuple(state[k].shape)}, not {shape}" for k, shape in wanted.items()
                             if k in state and tuple(state[k].shape) != shape],
    }
    if any(problems.values()):
        raise ValueError("the weights do not fit this configuration: " + "; ".join(f"{k} {', '.join(v)}" for k, v in problems.items() if v))
    empty, tensors = net.state_dict(), {}
    for ours, theirs, _ in entries:
        tensor = torch.cat([state[name].detach() for name in theirs]).reshape(empty[ours].shape)
        tensors[ours] = change(ours, tensor) if change else tensor
    net.load_state_dict(tensors, assign=True)
    return net.eval()
