"""Trained weights and their cards. A weight is a safetensors file; nothing is ever unpickled."""

import hashlib
import json
import os
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from .denoisers import NetworkDenoiser
from .dit import DiT, DiTConfig
from .evaluation import FashionClassifier
from .noisy_classifier import NoisyClassifier
from .patches import PatchConfig, PatchNet
from .pixels import PixelConfig, PixelNet
from .schedules import Schedule
from .unet import UNet, UNetConfig
from .vae import VAE, VAEConfig

FOLDER = Path(__file__).with_name("weights")
Net = TypeVar("Net", bound=nn.Module)


def names(folder: Path = FOLDER) -> list[str]:
    """The weights shipped with the book."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def load(name: str, folder: Path = FOLDER) -> tuple[UNet | DiT, NetworkDenoiser, dict]:
    """(net, denoiser, card) of a shipped diffusion network, in evaluation mode, on the CPU; denoiser.schedule is its schedule.

    Raises ValueError for a name that is not shipped or is no diffusion network, and for a file that is truncated or altered.
    """
    # A progressively distilled network is a diffusion network, called at its own few times.
    card, tensors = _read_kind(name, folder, "diffusion network", "diffusion", "progressive")
    net = _filled(network_of(card).to(memory_format=torch.channels_last), tensors, name)  # a quarter faster on CPUs
    return net, NetworkDenoiser(net, schedule_of(card), card["predicts"], clip=card["clip"]), card


def network_of(card: dict) -> UNet | DiT:
    """The network a card or recipe describes, with new weights: its architecture, "unet" unless it says "dit", of the table network."""
    makers = {"unet": lambda table: UNet(UNetConfig(**table)), "dit": lambda table: DiT(DiTConfig(**table))}
    if (name := card.get("architecture", "unet")) not in makers:
        raise ValueError(f"architecture must be one of {list(makers)}, got {name!r}")
    return makers[name](card["network"])


def schedule_of(card: dict) -> Schedule:
    """The schedule a card or recipe names; raises ValueError for an unknown one."""
    makers = {"linear": Schedule.linear, "cosine": Schedule.cosine}
    if card["schedule"]["name"] not in makers:
        raise ValueError(f"schedule must be one of {list(makers)}, got {card['schedule']['name']!r}")
    return makers[card["schedule"]["name"]](card["schedule"]["T"])


def load_classifier(name: str = "fashion_classifier", folder: Path = FOLDER) -> FashionClassifier:
    """The shipped classifier whose features measure samples, in evaluation mode."""
    _, tensors = read(name, folder)
    return _filled(FashionClassifier(), tensors, name)


def load_noisy_classifier(name: str = "fashion_noisy_classifier", folder: Path = FOLDER) -> NoisyClassifier:
    """The shipped classifier of noised pictures, for `classifier_guided`, in evaluation mode."""
    card, tensors = _read_kind(name, folder, "noisy-classifier", "noisy-classifier")
    return _filled(NoisyClassifier(UNetConfig(**card["network"])), tensors, name)


def load_vae(name: str = "fashion_vae", folder: Path = FOLDER) -> VAE:
    """The shipped variational autoencoder, in evaluation mode. Raises ValueError for what is none, as `load` does."""
    card, tensors = _read_kind(name, folder, "vae", "vae")
    return _filled(VAE(VAEConfig(**card["network"])), tensors, name)


def load_pixels(name: str, folder: Path = FOLDER) -> PixelNet:
    """A shipped pixel model, in evaluation mode. Raises ValueError for what is none, as `load` does."""
    card, tensors = _read_kind(name, folder, "pixel model", "pixels")
    return _filled(PixelNet(PixelConfig(**card["network"])), tensors, name)


def load_patches(name: str = "pixels_patch", folder: Path = FOLDER) -> PatchNet:
    """The shipped patch model, in evaluation mode. Raises ValueError for what is none, as `load` does."""
    card, tensors = _read_kind(name, folder, "patch model", "patches")
    return _filled(PatchNet(PatchConfig(**card["network"])), tensors, name)


def read(name: str, folder: Path = FOLDER) -> tuple[dict, dict[str, torch.Tensor]]:
    """Card and tensors of a shipped weight, its checksum compared with the card's."""
    if name not in names(folder):
        raise ValueError(f"unknown weights {name!r}: there are {', '.join(names(folder)) or 'none'}")
    path = folder / f"{name}.safetensors"
    raw, card = path.read_bytes(), json.loads((folder / f"{name}.json").read_text("utf8"))
    if hashlib.sha256(raw).hexdigest() != card["sha256"]:
        raise ValueError(f"{path.name} is truncated or altered: its checksum is not the one of its card")
    try:
        return card, load_tensors(raw)
    except SafetensorError as error:
        raise ValueError(f"{path.name} is no safetensors file: {error}") from error


def _read_kind(name: str, folder: Path, what: str, *kinds: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """`read` of weights of one of these kinds; raises ValueError for others, saying that they are no `what`."""
    card, tensors = read(name, folder)
    if card["kind"] not in kinds:
        raise ValueError(f"{name!r} is a {card['kind']}, not a {what}")
    return card, tensors


def save(name: str, net: nn.Module, card: dict, folder: Path = FOLDER) -> None:
    """Write the weights of net and beside them the card, completed by name and checksum.

    Each file takes its place whole. Between the two a crash leaves a card that does not fit, which `read` says; the recipe run again,
    which goes on from its checkpoint, mends it.
    """
    raw = save_tensors({key: value.detach().contiguous() for key, value in net.state_dict().items()})
    card = {"name": name, **card, "sha256": hashlib.sha256(raw).hexdigest()}
    _replace(folder / f"{name}.safetensors", raw)
    _replace(folder / f"{name}.json", (json.dumps(card, indent=1) + "\n").encode())


def tables(name: str, folder: Path = FOLDER) -> dict:
    """What the recipe recipes/NAME.py or recipes/NAME_tables.py measured, as "fashion" or "scaling"; raises ValueError for a name without tables."""
    path = folder / f"{name}_tables.json"
    if not path.is_file():
        raise ValueError(f"no tables for {name!r}: there are {', '.join(sorted(p.stem for p in folder.glob('*_tables.json'))) or 'none'}")
    return json.loads(path.read_text("utf8"))


def save_tables(name: str, measured: dict, figures: dict, folder: Path = FOLDER) -> None:
    """Write what was measured of a shipped network, and its main figures into the network's card."""
    (folder / f"{name}_tables.json").write_text(json.dumps(measured, indent=1) + "\n", "utf8")
    card = json.loads((folder / f"{name}.json").read_text("utf8"))
    (folder / f"{name}.json").write_text(json.dumps(card | {"figures": figures}, indent=1) + "\n", "utf8")


def _replace(path: Path, raw: bytes) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(raw)
    os.replace(partial, path)


def _filled(net: Net, tensors: dict[str, torch.Tensor], name: str) -> Net:
    """net with these tensors, in evaluation mode and without gradients."""
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    if expected != found:
        missing, extra = sorted(expected.items() - found.items()), sorted(found.items() - expected.items())
        raise ValueError(f"weights {name!r} do not fit their network: missing {missing}, not expected {extra}")
    net.load_state_dict(tensors)
    return net.eval().requires_grad_(False)
