"""Run a recipe: python -m diffusion_core.train recipes/NAME.toml, or on many processes: accelerate launch -m diffusion_core.train recipes/NAME.toml

Writes checkpoints of a diffusion network to runs/NAME.pt and goes on from there when started again; at the end writes the weights and
their card. Pictures are the full training set of Fashion-MNIST (`data.fashion_mnist` says where it comes from), or what the recipe's table
[data] names: the fields of `data.Stream`.
"""

import argparse
import copy
import functools
import os
import time
import tomllib
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from . import data, objectives, zoo
from .denoisers import NetworkDenoiser
from .dit import DiT
from .evaluation import FashionClassifier, class_accuracy, frechet, statistics
from .noisy_classifier import NoisyClassifier
from .patches import PatchConfig, PatchNet, measured_bound, patch_loss
from .pixels import PixelConfig, PixelNet, measured_bits, pixel_loss
from .plots import progress
from .schedules import Schedule
from .training import Batch, Lanes, Objective, Run, Settings, fit
from .unet import UNet, UNetConfig
from .vae import VAE, VAEConfig, negative_elbo

CHECKPOINTS = Path("runs")


def run_recipe(recipe_file: Path, weights: Path = zoo.FOLDER, checkpoints: Path = CHECKPOINTS) -> None:
    """Train what recipe_file describes and save it under its name in `weights`.

    Raises ValueError for an unknown kind of recipe, and for processes that were launched together and did not find each other.
    """
    recipe = tomllib.loads(recipe_file.read_text("utf8"))
    kinds = {"diffusion": diffusion, "progressive": progressive, "noisy-classifier": noisy_classifier, "classifier": classifier, "vae": vae,
             "pixels": pixels, "patches": patches}
    if recipe.get("kind") not in kinds:
        raise ValueError(f"{recipe_file.name}: kind must be one of {list(kinds)}, got {recipe.get('kind')!r}")
    accelerator = Accelerator()
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if launched != accelerator.num_processes:  # they would train the same thing one over the other
        raise ValueError(f"{launched} processes were launched and accelerate joined {accelerator.num_processes}: on CPUs, set ACCELERATE_USE_CPU=true")
    weights.mkdir(parents=True, exist_ok=True)  # now, so that a folder that cannot be is known before the training
    net, card = kinds[recipe["kind"]](recipe, checkpoints, accelerator)
    if accelerator.is_main_process:
        zoo.save(recipe["name"], net, {"kind": recipe["kind"], "licence": "MIT", "recipe": recipe_file.name, **card}, weights)
    accelerator.wait_for_everyone()


def diffusion(recipe: dict, checkpoints: Path, accelerator: Accelerator) -> tuple[UNet | DiT, dict]:
    """The averaged network of a recipe and what its card says of it. [objective] names what is minimised in place of the weighted loss."""
    torch.manual_seed(recipe["training"].get("seed", Settings.seed))  # layer initialisation takes no generator
    net = zoo.network_of(recipe).to(accelerator.device, memory_format=torch.channels_last)
    if "init" in recipe:
        start_from(net, zoo.read(recipe["init"])[1])
    denoiser = NetworkDenoiser(net, zoo.schedule_of(recipe), recipe["predicts"])
    pictures, source = pictures_of(recipe)
    run = trained(denoiser, pictures, recipe, checkpoints, accelerator, objective_of(recipe, accelerator))
    return run.ema.shadow, {"data": source, "network": net.config.to_dict(), "predicts": recipe["predicts"], "clip": recipe.get("clip"),
                            **about(recipe, accelerator, run.step, run.seconds, run.log)}


def progressive(recipe: dict, checkpoints: Path, accelerator: Accelerator) -> tuple[UNet, dict]:
    """Progressive distillation: for each of `phases`, [steps, substeps], a student is trained and becomes the next phase's teacher."""
    teacher, (pictures, source) = teacher_of(recipe, accelerator), pictures_of(recipe)
    card, _ = zoo.read(recipe["teacher"])
    taken, seconds, log = 0, 0.0, {}
    for steps, substeps in recipe["phases"]:
        student = NetworkDenoiser(copy.deepcopy(teacher.net).requires_grad_(True).train(), teacher.schedule, teacher.predicts)
        phase = recipe | {"name": f"{recipe['name']}_phase{steps}", "training": recipe["training"] | {"seed": steps}}
        objective = objectives.progressive_distillation(teacher, steps, substeps, recipe["w_max"])
        run = trained(student, pictures, phase, checkpoints, accelerator, objective)
        teacher = NetworkDenoiser(run.ema.shadow, teacher.schedule, teacher.predicts)
        taken, seconds, log = taken + run.step, seconds + run.seconds, log | {steps: run.log}
    return teacher.net, {"data": source, "network": card["network"], "predicts": card["predicts"], "clip": card["clip"],
                         **about(recipe | {"schedule": card["schedule"]}, accelerator, taken, seconds, log)}


def noisy_classifier(recipe: dict, checkpoints: Path, accelerator: Accelerator) -> tuple[NoisyClassifier, dict]:
    """The averaged classifier of noised pictures, and its card with its accuracy on test pictures noised to a few times."""
    torch.manual_seed(recipe["training"].get("seed", Settings.seed))
    net = NoisyClassifier(UNetConfig(**recipe["network"])).to(accelerator.device, memory_format=torch.channels_last)
    holder = NetworkDenoiser(net, zoo.schedule_of(recipe))
    pictures, source = pictures_of(recipe)
    run = trained(holder, pictures, recipe, checkpoints, accelerator, objectives.classification)
    images, labels = data.fashion_mnist("test")
    test = data.to_pictures(images).to(accelerator.device), torch.from_numpy(labels).long()
    accuracy = objectives.noisy_accuracy(run.ema.shadow, holder.schedule, *test)
    return run.ema.shadow, {"data": source, "network": net.config.to_dict(), "test_accuracy_by_t": accuracy,
                            **about(recipe, accelerator, run.step, run.seconds, run.log)}


def vae(recipe: dict, checkpoints: Path, accelerator: Accelerator) -> tuple[VAE, dict]:
    """The averaged variational autoencoder of a recipe, and its card with its mean error and KL on the test pictures."""
    torch.manual_seed(recipe["training"].get("seed", Settings.seed))  # layer initialisation takes no generator
    net = VAE(VAEConfig(**recipe["network"])).to(accelerator.device)
    pictures, source = pictures_of(recipe)
    run = trained(NetworkDenoiser(net, Schedule.linear(1)), pictures, recipe, checkpoints, accelerator, negative_elbo)  # no time: any schedule
    test = data.to_pictures(data.fashion_mnist("test")[0]).to(accelerator.device)
    with torch.no_grad():
        mean, _ = run.ema.shadow.encode(test)
        _, kl = run.ema.shadow(test, torch.zeros_like(mean))
        figures = {"test_squared_error": round(float(((run.ema.shadow.decode(mean) - test) ** 2).mean()), 4), "test_kl": round(float(kl.mean()), 2)}
    return run.ema.shadow, {"data": source, "network": net.config.to_dict(), "figures": figures,
                            **about(recipe, accelerator, run.step, run.seconds, run.log)}


def pixels(recipe: dict, checkpoints: Path, accelerator: Accelerator) -> tuple[PixelNet, dict]:
    """The averaged pixel model of a recipe, and its card with its bits a dimension on the test pictures."""
    torch.manual_seed(recipe["training"].get("seed", Settings.seed))  # layer initialisation takes no generator
    config = PixelConfig(**recipe["network"])
    net = PixelNet(config).to(accelerator.device)
    pictures, source = pictures_of(recipe)
    holder = NetworkDenoiser(net, Schedule.linear(config.size**2))  # t counts hidden pixels; no noise is added
    run = trained(holder, pictures, recipe, checkpoints, accelerator, functools.partial(pixel_loss, config))
    images, labels = data.fashion_mnist("test", source="full")
    test = data.to_pictures(images).to(accelerator.device), torch.from_numpy(labels).long().to(accelerator.device)
    return run.ema.shadow, {"data": source, "network": config.to_dict(), "figures": measured_bits(run.ema.shadow, *test),
                            **about(recipe, accelerator, run.step, run.seconds, run.log)}


def patches(recipe: dict, checkpoints: Path, accelerator: Accelerator) -> tuple[PatchNet, dict]:
    """The averaged patch model of a recipe, and its card with its bound in bits a dimension on the test pictures."""
    torch.manual_seed(recipe["training"].get("seed", Settings.seed))  # layer initialisation takes no generator
    net = PatchNet(PatchConfig(**recipe["network"])).to(accelerator.device)
    pictures, source = pictures_of(recipe)
    run = trained(NetworkDenoiser(net, net.schedule), pictures, recipe, checkpoints, accelerator, patch_loss)
    images, _ = data.fashion_mnist("test", source="full")
    figures = measured_bound(run.ema.shadow, data.to_pictures(images).to(accelerator.device))
    return run.ema.shadow, {"data": source, "network": net.config.to_dict(), "figures": figures,
                            **about(recipe, accelerator, run.step, run.seconds, run.log)}


def start_from(net: UNet, tensors: dict[str, Tensor]) -> None:
    """Give net the weights of another network that it extends: new parameters stay, further output channels start at 0.

    Raises ValueError naming the tensors that net has no place for.
    """
    own = net.state_dict()
    unknown = [key for key, value in tensors.items() if key not in own or own[key].shape[1:] != value.shape[1:] or len(own[key]) < len(value)]
    if unknown:
        raise ValueError(f"the network does not extend the one it starts from: no place for {', '.join(unknown)}")
    for key, value in tensors.items():
        own[key].zero_()[: len(value)].copy_(value)


def teacher_of(recipe: dict, accelerator: Accelerator) -> NetworkDenoiser:
    """The shipped network that a recipe's `teacher` names."""
    _, teacher, _ = zoo.load(recipe["teacher"])
    teacher.net.to(accelerator.device)
    return teacher


def objective_of(recipe: dict, accelerator: Accelerator) -> Objective | None:
    """What the recipe's table [objective] names, by the names of `objectives`; None for the weighted loss. Raises ValueError for others."""
    table = dict(recipe.get("objective", {}))
    name = table.pop("name", None)
    if name is None:
        return None
    if name == "guidance_distillation":
        return objectives.guidance_distillation(teacher_of(table, accelerator), table["w_max"])
    if name == "hybrid":
        return objectives.hybrid(recipe["training"].get("gamma", Settings.gamma), **table)
    raise ValueError(f"objective must be 'guidance_distillation' or 'hybrid', got {name!r}")


def about(recipe: dict, accelerator: Accelerator, steps: int, seconds: float, log: list | dict) -> dict:
    """What every card of a trained network says: where it started, how it was trained, and the log (one for each phase, by its steps)."""
    origin = {key: recipe[key] for key in ("architecture", "schedule", "init", "teacher", "objective", "phases", "w_max") if key in recipe}
    return {**origin, "training": recipe["training"], "steps": steps, "minutes": round(seconds / 60, 1),
            "processes": accelerator.num_processes, "threads": torch.get_num_threads(), "log": log}


def pictures_of(recipe: dict) -> tuple[Batch | Lanes, str]:
    """The pictures a recipe trains on, as `fit` takes them, and their name for the card."""
    table = {"source": "fashion", **recipe.get("data", {})}
    if table["source"] == "fashion":
        images, labels = data.fashion_mnist("train", source="full")
        return data.batches(images, labels), f"Fashion-MNIST, {len(images):,} training pictures"
    stream = data.Stream(**table, channels=recipe["network"].get("in_channels", UNetConfig.in_channels),
                         seed=recipe["training"].get("seed", Settings.seed))
    return stream, f"{stream.source} {stream.path}"


def trained(denoiser: NetworkDenoiser, pictures: Batch | Lanes, recipe: dict, checkpoints: Path, accelerator: Accelerator,
            objective: Objective | None = None) -> Run:
    """`fit` to its end with the recipe's [training] and checkpoints every recipe["every"] steps (500), the loss being printed."""
    settings = Settings(**recipe["training"])
    checkpoints.mkdir(parents=True, exist_ok=True)
    training = fit(denoiser, pictures, settings, objective=objective, checkpoint=checkpoints / f"{recipe['name']}.pt",
                   every=recipe.get("every", 500), accelerator=accelerator)
    printed = None
    for run in progress(training, total=settings.steps) if accelerator.is_main_process else training:
        if accelerator.is_main_process and run.log and run.log[-1] != printed:
            printed = run.log[-1]
            print(f"step {printed[0]:6d}  loss {printed[1]:.5f}  {run.seconds / 60:.1f} min", flush=True)
    return run


def classifier(recipe: dict, checkpoints: Path, accelerator: Accelerator) -> tuple[FashionClassifier, dict]:
    """The classifier of a recipe with the statistics of its features, and its card.

    It trains in minutes on a CPU, keeps no checkpoint, and is no work to share: with several processes each trains the same one.
    """
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
    parser.add_argument("--weights", type=Path, default=zoo.FOLDER, help="folder for the finished weights (default: those of the package)")
    parser.add_argument("--checkpoints", type=Path, default=CHECKPOINTS, help="folder for checkpoints, seen by all processes (default: runs)")
    options = parser.parse_args()
    run_recipe(options.recipe, options.weights, options.checkpoints)
    Accelerator().end_training()
