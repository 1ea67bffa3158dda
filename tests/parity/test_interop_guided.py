"""Networks in guided-diffusion's layout (Dhariwal & Nichol 2021) against what its own code gave, recorded by record_guided_diffusion.py."""

import json

import numpy as np
import pytest
import torch
from record_guided_diffusion import CASES, DATA, PUBLISHED, seeded_inputs, seeded_state

from diffusion_core import NetworkDenoiser, Schedule
from diffusion_core.interop import from_diffusers, from_guided, to_diffusers

RECORDED = np.load(DATA / "guided_diffusion_outputs.npz")
META = json.loads(str(RECORDED["meta"]))
KEYS = json.loads((DATA / "guided_diffusion_keys.json").read_text("utf8"))
every_case = pytest.mark.parametrize("name", CASES)


def network(name, **other_flags):
    case = META[name]
    return from_guided(case["flags"] | other_flags, seeded_state(case["shapes"], case["seed"]))


def inputs(name):
    flags = META[name]["flags"]
    return seeded_inputs(META[name]["seed"], flags["image_size"], 1000 if flags.get("class_cond") else None)


def test_the_data_are_those_of_the_script():
    assert {name: case["flags"] for name, case in META.items()} == CASES
    assert {name: case["flags"] for name, case in KEYS.items()} == PUBLISHED


@every_case
@torch.no_grad()
def test_outputs(name):
    """To 1e-5 in float32; in float64 what is left is the rounding of the recorded float32."""
    net, expected = network(name), torch.from_numpy(RECORDED[name])
    x, t, labels = inputs(name)
    assert expected.std() > 0.2
    assert (net(x, t, labels) - expected).abs().max() < 1e-5
    assert (net.double()(x.double(), t, labels) - expected).abs().max() < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("name", ["legacy order", "new order"])
def test_the_order_of_attention_matters(name):
    """Read as the other order, the same weights give another network: no case can pass by luck."""
    x, t, labels = inputs(name)
    other = network(name, use_new_attention_order=name == "legacy order")
    assert (other(x, t, labels) - torch.from_numpy(RECORDED[name])).abs().max() > 0.1


@pytest.mark.parametrize("name, keys, parameters", [("64x64 class-conditional", 541, 295_904_454),
                                                    ("256x256 unconditional", 566, 552_814_086)])
def test_every_key_of_the_published_networks_has_its_place(name, keys, parameters):
    """Without memory for them."""
    shapes = KEYS[name]["shapes"]
    net = from_guided(KEYS[name]["flags"], {key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert len(shapes) == keys and sum(p.numel() for p in net.parameters()) == parameters
    assert net.config.out_channels == 6 and net.config.classes == (1000 if "conditional" in name.split("-") else None)


@torch.no_grad()
def test_six_channels_are_eps_and_a_variance():
    """The second half of the channels, -1 .. 1, arrives as the fraction between the posterior's variance and beta."""
    name = "new order"
    x, t, _ = inputs(name)
    prediction = NetworkDenoiser(network(name), Schedule.cosine(1000), "eps")(x, t + 1)
    expected = torch.from_numpy(RECORDED[name])
    assert torch.allclose(prediction.eps, expected[:, :3], atol=1e-5)
    assert torch.allclose(prediction.fraction, (expected[:, 3:] + 1) / 2, atol=1e-5)


@every_case
@torch.no_grad()
def test_on_to_diffusers_and_back(name):
    net = network(name)
    x, t, labels = inputs(name)
    if name.startswith("convolutions"):  # four heads: diffusers has one width of heads, here that of the one level with attention
        assert from_diffusers(*to_diffusers(net)).config.head_channels == 16
    assert torch.equal(from_diffusers(*to_diffusers(net))(x, t, labels), net(x, t, labels))
