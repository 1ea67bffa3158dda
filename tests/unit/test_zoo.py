"""Weights and cards: what is saved is what is loaded, and nothing altered or unknown is."""

import hashlib
import json
import pickle

import pytest
import torch

from diffusion_core import Schedule, UNet, UNetConfig, zoo
from diffusion_core.evaluation import FashionClassifier

CONFIG = UNetConfig(channels=8, groups=4, head_channels=8, classes=3)
CARD = {"kind": "diffusion", "network": CONFIG.to_dict(), "schedule": {"name": "cosine", "T": 50}, "predicts": "v", "clip": None}


def network(seed=0):
    torch.manual_seed(seed)
    net = UNet(CONFIG)
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.1)
    return net


@pytest.fixture
def folder(tmp_path):
    zoo.save("small", network().to(memory_format=torch.channels_last), CARD, tmp_path)
    return tmp_path


def rewrite_checksum(folder, name="small"):
    """Make the card vouch for the file as it is now, so that what is behind the checksum is tested."""
    path = folder / f"{name}.json"
    card = json.loads(path.read_text()) | {"sha256": hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()}
    path.write_text(json.dumps(card))


def test_round_trip(folder):
    net, denoiser, card = zoo.load("small", folder)
    x, t, cond = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([5, 5]), torch.tensor([0, -1])
    saved, loaded = network().state_dict(), net.state_dict()
    assert saved.keys() == loaded.keys() and all(torch.equal(saved[key], loaded[key]) for key in saved)
    assert torch.allclose(net(x, t - 1, cond), network().eval()(x, t - 1, cond), atol=1e-5)  # another memory layout, other last bits
    assert torch.equal(denoiser(x, 5, cond).v, net(x, t - 1, cond))
    assert torch.equal(denoiser.schedule.alpha_bar, Schedule.cosine(50).alpha_bar)
    assert card["name"] == "small" and card["predicts"] == "v"
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert zoo.names(folder) == ["small"]


def test_clip_of_the_card_is_used(folder):
    zoo.save("clipped", network(), CARD | {"clip": 0.5}, folder)
    _, denoiser, _ = zoo.load("clipped", folder)
    assert denoiser(torch.full((1, 1, 8, 8), 3.0), 5).x0.abs().max() == 0.5


@pytest.mark.parametrize("name", ["other", "../small", "small.safetensors", ""])
def test_unknown_names_are_refused(folder, name):
    with pytest.raises(ValueError, match="unknown weights .*: there are small"):
        zoo.load(name, folder)


def test_an_empty_folder_says_so(tmp_path):
    with pytest.raises(ValueError, match="unknown weights 'small': there are none"):
        zoo.load("small", tmp_path)


@pytest.mark.parametrize("spoil", [
    lambda raw: raw[:-10], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), lambda raw: b"", lambda raw: raw + b"0"],
                         ids=["truncated", "one bit", "empty", "longer"])
def test_altered_weights_are_refused(folder, spoil):
    path = folder / "small.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="small.safetensors is truncated or altered"):
        zoo.load("small", folder)


class Harmful:
    ran = False

    def __reduce__(self):
        return setattr, (Harmful, "ran", True)


@pytest.mark.parametrize("raw", [pickle.dumps(Harmful()), b"{}", b"\xff" * 100], ids=["a pickle", "no header", "nonsense"])
def test_what_is_no_safetensors_is_refused_and_never_unpickled(folder, raw):
    (folder / "small.safetensors").write_bytes(raw)
    rewrite_checksum(folder)
    with pytest.raises(ValueError, match="small.safetensors is no safetensors file"):
        zoo.load("small", folder)
    assert not Harmful.ran


def test_weights_of_another_network_are_refused(folder):
    zoo.save("odd", torch.nn.Linear(2, 2), CARD, folder)
    with pytest.raises(ValueError, match="weights 'odd' do not fit their network: missing .*stem.weight.* not expected .*weight"):
        zoo.load("odd", folder)


def test_weights_of_another_width_are_refused(folder):
    wide = UNetConfig(**CONFIG.to_dict() | {"channels": 16})
    zoo.save("wide", UNet(wide), CARD, folder)  # the card says 8 channels
    with pytest.raises(ValueError, match="weights 'wide' do not fit their network"):
        zoo.load("wide", folder)


def test_a_classifier_is_no_diffusion_network(folder):
    zoo.save("judge", FashionClassifier(), {"kind": "classifier"}, folder)
    with pytest.raises(ValueError, match="'judge' is a classifier, not a diffusion network"):
        zoo.load("judge", folder)
    assert zoo.load_classifier("judge", folder).last.out_features == 10
    with pytest.raises(ValueError, match="do not fit"):
        zoo.load_classifier("small", folder)
    with pytest.raises(ValueError, match="'judge' is a classifier, not a noisy-classifier"):
        zoo.load_noisy_classifier("judge", folder)


@pytest.mark.parametrize("name", zoo.names())
def test_shipped_weights_load_and_their_cards_are_complete(name):
    card, tensors = zoo.read(name)
    assert card["name"] == name and card["licence"] and card["data"] and card["minutes"] > 0
    assert all(bool(v.isfinite().all()) for v in tensors.values())
    assert (zoo.FOLDER / f"{name}.safetensors").stat().st_size < 4_000_000
    {"diffusion": zoo.load, "progressive": zoo.load, "classifier": zoo.load_classifier, "noisy-classifier": zoo.load_noisy_classifier,
     "vae": zoo.load_vae, "pixels": zoo.load_pixels, "patches": zoo.load_patches}[card["kind"]](name)
