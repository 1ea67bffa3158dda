"""Run a recipe: python -m diffusion_core.train recipes/NAME.toml

Writes checkpoints of a diffusion network to runs/NAME.pt and goes on from there when started again; at the end writes the weights and
their card. Pictures are the full training set (`data.fashion_mnist` says where it comes from).
"""

import argparse
import time
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from . import data, zoo
from .denoisers import NetworkDenoiser
from .evaluation import FashionClassifier, class_accuracy, frechet, statistics
from .plots import progress
from .schedules import Schedule
from .training import Settings, fit
from .unet import UNet, UNetConfig

CHECKPOINTS = Path("runs")


def run_recipe(recipe_file: Path, weights: Path = zoo.FOLDER, checkpoints: Path = CHECKPOINTS) -> None:
    """Train what recipe_file describes and save it under its name in `weights`; raises ValueError for an unknown kind of recipe."""
    recipe = tomllib.loads(recipe_file.read_text("utf8"))
    kinds = {"diffusion": diffusion, "classifier": classifier}
    if recipe.get("kind") not in kinds:
        raise ValueError(f"{recipe_file.name}: kind must be one of {list(kinds)}, got {recipe.get('kind')!r}")
    net, card = kinds[recipe["kind"]](recipe, checkpoints)
    zoo.save(recipe["name"], net, {"kind": recipe["kind"], "licence": "MIT", "recipe": recipe_file.name, **card}, weights)


def diffusion(recipe: dict, checkpoints: Path) -> tuple[UNet, dict]:
    """The averaged network of a recipe and what its card says of it."""
    settings = Settings(**recipe["training"])
    torch.manual_seed(settings.seed)  # layer initialisation takes no generator
    net = UNet(UNetConfig(**recipe["network"])).to(memory_format=torch.channels_last)
    schedule = zoo.schedule_of(recipe)
    denoiser = NetworkDenoiser(net, schedule, recipe["predicts"])
    images, labels = data.fashion_mnist("train", source="full")
    checkpoints.mkdir(parents=True, exist_ok=True)

    training = fit(denoiser, data.batches(images, labels), settings, checkpoint=checkpoints / f"{recipe['name']}.pt")
    printed = None
    for run in progress(training, total=settings.steps):
        if run.log and run.log[-1] != printed:
            printed = run.log[-1]
            print(f"step {printed[0]:6d}  loss {printed[1]:.5f}  {run.seconds / 60:.1f} min", flush=True)
    return run.ema.shadow, {
        "data": f"Fashion-MNIST, {len(images):,} training pictures", "network": net.config.to_dict(), "schedule": recipe["schedule"],
        "predicts": recipe["predicts"], "clip": recipe.get("clip"), "training": recipe["training"], "steps": run.step,
        "minutes": round(run.seconds / 60, 1), "threads": torch.get_num_threads(), "log": run.log}


def classifier(recipe: dict, checkpoints: Path) -> tuple[FashionClassifier, dict]:
    """The classifier of a recipe with the statistics of its features, and its card. It trains in minutes and keeps no checkpoint."""
    pictures = {}
    for split in ("train", "test"):
        images, labels = data.fashion_mnist(split, source="full")
        pictures[split] = data.to_pictures(images), torch.from_numpy(labels).long()
    start = time.perf_counter()
    net = fit_classifier(*pictures["train"], **recipe["training"])
    minutes = (time.perf_counter() - start) / 60

    raw = net.features(pictures["train"][0])
    net.feature_mean.copy_(raw.mean(0))
    net.feature_std.copy_(torch.where(raw.std(0) > 0, raw.std(0), 1.0))  # a feature that never fires stays 0
    for buffer, value in zip(net.test_statistics, statistics(net.features(pictures["test"][0])), strict=True):
        buffer.copy_(value)
    some = torch.randperm(len(raw), generator=torch.Generator().manual_seed(0))[:6000]
    features = net.features(pictures["train"][0][some])
    return net, {
        "data": f"Fashion-MNIST, {len(raw):,} training pictures", "training": recipe["training"], "minutes": round(minutes, 1),
        "threads": torch.get_num_threads(), "test_accuracy": class_accuracy(net, *pictures["test"]),
        "train_accuracy": class_accuracy(net, *pictures["train"]),
        "frechet_floor_2000": [frechet(part, net.test_statistics) for part in features.split(2000)]}


def fit_classifier(images: Tensor, labels: Tensor, epochs: int, lr: float, batch: int, seed: int) -> FashionClassifier:
    """Cross-entropy, AdamW with a one-cycle rate; returned in evaluation mode, its feature statistics not yet set."""
    torch.manual_seed(seed)  # layer initialisation and dropout take no generator
    generator = torch.Generator().manual_seed(seed)
    net = FashionClassifier()
    optimiser = torch.optim.AdamW(net.parameters(), lr, weight_decay=1e-4)
    updates = epochs * (len(images) // batch)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, updates)
    order = torch.cat([torch.randperm(len(images), generator=generator)[: updates // epochs * batch] for _ in range(epochs)])
    for index in progress(order.split(batch), total=updates):
        value = F.cross_entropy(net(images[index]), labels[index])
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        rate.step()
    return net.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    run_recipe(parser.parse_args().recipe)
