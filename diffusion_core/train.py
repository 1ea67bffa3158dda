"""Run a recipe: python -m diffusion_core.train recipes/NAME.toml

Writes checkpoints to runs/NAME.pt and goes on from there when started again; at the end writes the weights and their card.
"""

import argparse
import tomllib
from pathlib import Path

import torch

from . import data, zoo
from .denoisers import NetworkDenoiser
from .plots import progress
from .schedules import Schedule
from .training import Settings, fit
from .unet import UNet, UNetConfig

CHECKPOINTS = Path("runs")


def main(recipe_file: Path, weights: Path = zoo.FOLDER, checkpoints: Path = CHECKPOINTS) -> None:
    """Train what recipe_file describes and save it as weights of its name; raises ValueError for an unknown data set or schedule."""
    recipe = tomllib.loads(recipe_file.read_text("utf8"))
    if recipe["data"] != "fashion_mnist":
        raise ValueError(f"data must be 'fashion_mnist', got {recipe['data']!r}")
    settings = Settings(**recipe["training"])
    torch.manual_seed(settings.seed)  # layer initialisation takes no generator
    net = UNet(UNetConfig(**recipe["network"])).to(memory_format=torch.channels_last)
    schedule = getattr(Schedule, recipe["schedule"]["name"])(recipe["schedule"]["T"])
    denoiser = NetworkDenoiser(net, schedule, recipe["predicts"])
    images, labels = data.fashion_mnist("train", source="full")
    checkpoints.mkdir(exist_ok=True)
    file = checkpoints / f"{recipe['name']}.pt"

    bar = progress(fit(denoiser, data.batches(images, labels), settings, checkpoint=file), total=settings.steps)
    logged = None
    for run in bar:
        if run.log and run.log[-1] != logged:
            logged = run.log[-1]
            print(f"step {logged[0]:6d}  loss {logged[1]:.5f}  {run.seconds / 60:.1f} min", flush=True)
    card = {
        "kind": "diffusion", "licence": "MIT", "data": f"Fashion-MNIST, {len(images):,} training pictures", "recipe": recipe_file.name,
        "network": net.config.to_dict(), "schedule": recipe["schedule"], "predicts": recipe["predicts"], "clip": None,
        "training": recipe["training"], "steps": run.step, "minutes": round(run.seconds / 60, 1), "threads": torch.get_num_threads(),
        "log": run.log,
    }
    zoo.save(recipe["name"], run.ema.shadow, card, weights)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    main(parser.parse_args().recipe)
