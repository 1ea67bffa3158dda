"""Measure the shipped Fashion-MNIST network: the tables of chapter 3, written to diffusion_core/weights/fashion_tables.json.

By the book's metric: 2,000 samples, classes balanced, against the 10,000 test pictures, in the shipped classifier's features, 3 seeds.
Every measurement is kept in runs/tables/ as soon as it is made, so the recipe can be stopped and resumed; delete that folder to measure
anew. Two processes share the work with `--part 0/2` and `--part 1/2`; a last call without --part writes the table. About 40 minutes on two cores.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from diffusion_core import ddim, ddpm, final, guided, zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.denoisers import Denoiser
from diffusion_core.evaluation import class_accuracy, classifier, frechet, precision_recall, samples
from diffusion_core.plots import progress

NAME, SAMPLES, SEEDS = "fashion", 2000, (0, 1, 2)
RECOMMENDED_W = 0.25
SIGMA_HAT = "sigma-hat"  # DDIM's name for ancestral steps with the larger variance
GUIDANCE = [{"w": w, "steps": 20, "eta": 0} for w in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)]
STEPS = [{"w": RECOMMENDED_W, "steps": n, "eta": 0} for n in (4, 8, 12, 20)]
# 50 steps cost most, so only the three rows that part most at few steps are followed that far.
GRID = [(n, eta) for n in (5, 10, 20) for eta in (0, 0.2, 0.5, 1, SIGMA_HAT)] + [(50, eta) for eta in (0, 1, SIGMA_HAT)]
DDIM = [{"w": 0.0, "steps": n, "eta": eta} for n, eta in GRID]


def sampler(denoiser: Denoiser, w: float, steps: int, eta: float | str) -> Callable[[Tensor, Tensor, torch.Generator], Tensor]:
    """A function (x_T, labels, generator) -> pictures for one row of the tables."""
    leaning, schedule = guided(denoiser, w), denoiser.schedule

    def sample(x: Tensor, cond: Tensor, generator: torch.Generator) -> Tensor:
        if eta == SIGMA_HAT:
            return final(ddpm(leaning, x, schedule, steps=steps, variance="large", cond=cond, generator=generator))
        return final(ddim(leaning, x, schedule, steps=steps, eta=eta, cond=cond, generator=generator))

    return sample


def measure(denoiser: Denoiser, setting: dict, seed: int, n: int) -> dict:
    """Frechet distance to the test set, class accuracy, precision and recall of n samples."""
    net = classifier()
    x, labels = samples(sampler(denoiser, **setting), n, seed)
    features = net.features(x)
    precision, recall = precision_recall(net.features(to_pictures(fashion_mnist("test")[0])), features)
    return {"frechet": frechet(features, net.test_statistics), "accuracy": class_accuracy(net, x, labels),
            "precision": precision, "recall": recall}


def job_file(folder: Path, card: dict, setting: dict, seed: int, n: int) -> Path:
    """Where the result is kept; its name changes with the weights of the network and of the classifier that measures it."""
    judge, _ = zoo.read("fashion_classifier")
    key = json.dumps([card["sha256"], judge["sha256"], card["clip"], setting, seed, n], sort_keys=True)
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def run(part: int, parts: int, n: int, folder: Path) -> None:
    """Make every measurement of this part that is not there yet."""
    _, denoiser, card = zoo.load(NAME)
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(setting, seed) for seed in SEEDS for setting in [*GUIDANCE, *STEPS, *DDIM]]
    for setting, seed in progress(jobs[part::parts]):
        file = job_file(folder, card, setting, seed, n)
        if not file.exists():
            partial = file.with_suffix(f".{part}")
            partial.write_text(json.dumps(measure(denoiser, setting, seed, n)))
            os.replace(partial, file)


def collect(n: int, folder: Path) -> dict:
    """The tables, one entry a setting with a list over seeds for every figure."""
    _, _, card = zoo.load(NAME)

    def rows(settings: list[dict]) -> list[dict]:
        table = []
        for setting in settings:
            results = [json.loads(job_file(folder, card, setting, seed, n).read_text()) for seed in SEEDS]
            table.append(setting | {key: [round(r[key], 4) for r in results] for key in results[0]})
        return table

    measured_by, _ = zoo.read("fashion_classifier")
    return {"weights": card["sha256"], "samples": n, "seeds": SEEDS, "recommended_w": RECOMMENDED_W,
            "floor": [round(f, 4) for f in measured_by["frechet_floor_2000"]], "test_accuracy": measured_by["test_accuracy"],
            "guidance": rows(GUIDANCE), "steps": rows(STEPS), "ddim": rows(DDIM)}


def main_figures(tables: dict) -> dict:
    """What the card says: distance and class accuracy at the recommended weight, accuracy without guidance."""

    def row(table: str, **setting: float) -> dict:
        return next(r for r in tables[table] if setting.items() <= r.items())

    best = row("guidance", w=RECOMMENDED_W)
    return {"recommended_w": RECOMMENDED_W, "samples": tables["samples"], "frechet_floor": tables["floor"],
            "frechet_20_steps": best["frechet"], "frechet_8_steps": row("steps", steps=8)["frechet"],
            "accuracy_20_steps": best["accuracy"], "accuracy_20_steps_w_0": row("guidance", w=0.0)["accuracy"],
            "accuracy_of_real_test_pictures": tables["test_accuracy"]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", default=None, help="i/n: make the i-th n-th of the measurements and write no table")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--folder", type=Path, default=Path("runs/tables"))
    options = parser.parse_args()
    part, parts = map(int, (options.part or "0/1").split("/"))
    run(part, parts, options.samples, options.folder)
    if options.part is None:
        tables = collect(options.samples, options.folder)
        zoo.save_tables(NAME, tables, main_figures(tables))
