"""The recipes for a cluster build, and the page on their cost says what its code computes."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from diffusion_core import UNet, UNetConfig, zoo
from diffusion_core.data import Stream
from diffusion_core.training import Settings
from recipes import cluster_cost

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "recipes" / "cluster").glob("*.toml"))
every_recipe = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def read(file):
    return tomllib.loads(file.read_text("utf8"))


@every_recipe
def test_a_recipe_is_complete(file, tmp_path):
    recipe = read(file)
    assert recipe["name"] == file.stem and len(zoo.schedule_of(recipe)) == 1000
    shares = [Settings(**recipe["training"]).share(rank, 32) for rank in range(32)]
    assert [list(share) for share in shares] == [[k] for k in range(32)]
    (tmp_path / "train-0.tar").touch()
    stream = Stream(**recipe["data"] | {"path": str(tmp_path / "train-*.tar")}, seed=0)
    assert (stream.size, stream.channels, stream.label) == (int(file.stem.removeprefix("imagenet")), recipe["network"]["in_channels"], "cls")


@pytest.mark.parametrize("name, million", [("imagenet64", 296), ("imagenet256", 554)])
def test_the_networks_have_the_published_sizes(name, million):
    """Dhariwal & Nichol 2021 give 296 and 554 million parameters, there with twice the output channels and no null class."""
    with torch.device("meta"):
        net = UNet(UNetConfig(**read(ROOT / "recipes" / "cluster" / f"{name}.toml")["network"]))
    assert round(sum(p.numel() for p in net.parameters()) / 1e6) == million


def test_operations_by_another_route():
    """Two for each weight that a convolution or linear layer applies at each place, and 4 C L^2 for attention among L places."""
    recipe = read(FILES[0])
    recipe["network"] |= {"channels": 32, "multipliers": [1, 2], "attention": [False, True], "head_channels": 32, "blocks": 1}
    recipe["data"]["size"] = 16
    net, counted = UNet(replace(UNetConfig(**recipe["network"]), classes=None)), []

    def add(layer, inputs, output):
        if isinstance(layer, nn.Conv2d):
            counted.append(2 * layer.weight.numel() * output.shape[-1] * output.shape[-2])
        elif isinstance(layer, nn.Linear):
            counted.append(2 * layer.weight.numel())
        else:
            counted.append(4 * output.shape[1] * (output.shape[-1] * output.shape[-2]) ** 2)

    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear) or type(layer).__name__ == "Attention":
            layer.register_forward_hook(add)
    net(torch.zeros(1, 3, 16, 16), torch.zeros(1, dtype=torch.long))
    cost = cluster_cost.count(recipe)
    assert cost.forward == sum(counted)
    assert 2.9 * cost.forward < cost.training < 3.1 * cost.forward
    assert cost.parameters == sum(p.numel() for p in UNet(UNetConfig(**recipe["network"])).parameters())


def test_activations_are_what_a_real_pass_keeps():
    """The same count on the CPU, where tensors have bytes."""
    recipe = read(FILES[0])
    recipe["network"] |= {"channels": 32, "multipliers": [1, 2], "attention": [False, False], "head_channels": 32, "blocks": 1}
    recipe["data"]["size"] = 16
    net, kept = UNet(replace(UNetConfig(**recipe["network"]), classes=None)), {}
    weights = {p.data_ptr() for p in net.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.setdefault(tensor.untyped_storage().data_ptr(), tensor), lambda t: t):
        net(torch.zeros(1, 3, 16, 16), torch.zeros(1, dtype=torch.long)).square().mean()
    total = sum(tensor.untyped_storage().nbytes() for pointer, tensor in kept.items() if pointer not in weights)
    assert cluster_cost.count(recipe).activations == pytest.approx(total, rel=0.02)


def test_the_page_says_what_the_code_computes():
    table = cluster_cost.markdown()
    assert table in (ROOT / "book" / "scaling_out.md").read_text("utf8"), f"run recipes/cluster_cost.py and put this into the page:\n{table}"


def test_an_assumption_changes_the_table():
    """Half the utilisation is twice the hours; more devices change days, not hours."""
    cost, recipe = cluster_cost.Cost(10**9, 10**12, 3 * 10**12, 10**9), read(FILES[1])
    base = cluster_cost.Assumptions()

    def hours(a):
        table = dict(cluster_cost.rows(recipe, cost, a))
        return float(table["H100 SXM: hours of one device"].replace(",", ""))

    assert hours(replace(base, utilisation=0.15)) == pytest.approx(2 * hours(base), abs=1)
    assert hours(replace(base, count=64)) == hours(base)
    steps, batch = recipe["training"]["steps"], recipe["training"]["batch"]
    assert hours(base) == pytest.approx(3e12 * steps * batch / (0.30 * 989e12) / 3600, abs=0.5)
