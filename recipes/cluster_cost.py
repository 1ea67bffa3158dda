"""What the recipes in recipes/cluster would cost: python recipes/cluster_cost.py prints the table of book/scaling_out.md.

Operations, parameters and activations are counted on the network itself, built and run on the meta device, which computes shapes and no
numbers. What no code can count is an assumption, named below; change it and run again.
"""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from diffusion_core.training import Settings
from diffusion_core.unet import UNet, UNetConfig

RECIPES = Path(__file__).with_name("cluster")
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Device:
    """An accelerator: operations a second in bfloat16 at its peak, without sparsity, and bytes of memory, by the vendor's data sheet."""

    name: str
    peak: float
    memory: float


@dataclass(frozen=True)
class Assumptions:
    """What the arithmetic takes for granted. utilisation: share of the peak that is reached. link: bytes a second that each device sends."""

    devices: tuple[Device, ...] = (Device("A100 80GB SXM", 312e12, 80e9), Device("H100 SXM", 989e12, 80e9))
    count: int = 32
    utilisation: float = 0.30
    link: float = 25e9
    pictures: int = 1_281_167
    stored: float = 115e3


@dataclass(frozen=True)
class Cost:
    """Counted for one recipe: parameters; operations of a forward pass, and of forward and backward, for one picture; float32 bytes that a
    picture's forward pass leaves for the backward pass."""

    parameters: int
    forward: int
    training: int
    activations: int


def count(recipe: dict) -> Cost:
    """Build the recipe's network on the meta device, and send one picture forward and backward. A multiplication and an addition are two operations."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in UNet(UNetConfig(**recipe["network"])).parameters())
        # Looking up a label takes no operation, and meta tensors hold no label whose range could be checked.
        net = UNet(replace(UNetConfig(**recipe["network"]), classes=None))
        x = torch.empty(1, net.config.in_channels, recipe["data"]["size"], recipe["data"]["size"])
        t = torch.zeros(1, dtype=torch.long)
    saved: dict[int, Tensor] = {}
    weights = {p.untyped_storage()._cdata for p in net.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in weights:
            saved[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with FlopCounterMode(display=False) as forward, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = net(x, t).square().mean()
    with FlopCounterMode(display=False) as backward:
        value.backward()
    activations = sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
    return Cost(parameters, forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops(), activations)


def rows(recipe: dict, cost: Cost, a: Assumptions) -> list[tuple[str, str]]:
    """The lines of the table for one recipe: what, and how much."""
    s = Settings(**recipe["training"])
    total = cost.training * s.batch * s.steps
    sent = 2 * (a.count - 1) / a.count * FLOAT * cost.parameters
    small = 3 * recipe["data"]["size"] ** 2
    table = [
        ("parameters", f"{cost.parameters / 1e6:.0f} million"),
        ("operations a picture, forward", f"{cost.forward / 1e12:.2f} x 10^12"),
        ("operations a picture, forward and backward", f"{cost.training / 1e12:.2f} x 10^12"),
        ("steps x batch", f"{s.steps:,} x {s.batch:,}"),
        ("passes through the data", f"{s.steps * s.batch / a.pictures:,.0f}"),
        ("operations in all", "{} x 10^{}".format(*f"{total:.1e}".split("e+"))),
        ("on each device: weights, gradients twice, Adam's two averages, EMA", f"{6 * FLOAT * cost.parameters / 1e9:.1f} GB"),
        ("activations of one micro-batch, float32 (bfloat16: about half)", f"{s.micro * cost.activations / 1e9:.0f} GB ({s.micro} pictures)"),
        ("checkpoint", f"{4 * FLOAT * cost.parameters / 1e9:.1f} GB"),
        (f"data as JPEG, {a.stored / 1e3:.0f} kB a picture", f"{a.pictures * a.stored / 1e9:.0f} GB"),
        ("data cut to the recipe's size, a byte a value", f"{a.pictures * small / 1e9:.0f} GB"),
        (f"each of {a.count} devices sends a step (ring all-reduce, float32)", f"{sent / 1e9:.2f} GB"),
        (f"that takes, at {a.link / 1e9:.0f} GB/s", f"{sent / a.link:.2f} s"),
    ]
    for device in a.devices:
        second = device.peak * a.utilisation
        hours = total / second / 3600
        step = cost.training * s.batch / second / a.count
        table += [
            (f"{device.name}: hours of one device", f"{hours:,.0f}"),
            (f"{device.name}: days on {a.count}", f"{hours / a.count / 24:.1f}"),
            (f"{device.name}: computing a step on {a.count}", f"{step:.2f} s"),
            (f"{device.name}: JPEG read by {a.count}", f"{s.batch * a.stored / step / 1e6:,.0f} MB/s"),
        ]
    return table


def markdown(a: Assumptions = Assumptions(), counted: Callable[[dict], Cost] = count) -> str:
    """The table of the page, one column a recipe."""
    recipes = [tomllib.loads((RECIPES / f"imagenet{size}.toml").read_text("utf8")) for size in (64, 256)]
    columns = [rows(recipe, counted(recipe), a) for recipe in recipes]
    lines = ["| quantity | 64 x 64 | 256 x 256 |", "|---|---|---|"]
    lines += [f"| {name} | {first} | {second} |" for (name, first), (_, second) in zip(*columns, strict=True)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
