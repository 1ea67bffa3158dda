"""Measure the shipped Fashion-MNIST network: the tables of chapter 3, written to diffusion_core/weights/fashion_tables.json.

By the book's metric (`measuring.py`). Every measurement is kept in runs/tables/ as soon as it is made, so the recipe can be stopped and
resumed; delete that folder to measure anew. Two processes share the work with `--part 0/2` and `--part 1/2`; a last call without --part
writes the table. About 40 minutes on two cores.
"""

import measuring
import torch
from torch import Tensor

from diffusion_core import ddim, ddpm, final, guided, zoo

NAME = "fashion"
RECOMMENDED_W = 0.25
SIGMA_HAT = "sigma-hat"  # DDIM's name for ancestral steps with the larger variance
GUIDANCE = [{"w": w, "steps": 20, "eta": 0} for w in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)]
STEPS = [{"w": RECOMMENDED_W, "steps": n, "eta": 0} for n in (4, 8, 12, 20)]
# 50 steps cost most, so only the three rows that part most at few steps are followed that far.
GRID = [(n, eta) for n in (5, 10, 20) for eta in (0, 0.2, 0.5, 1, SIGMA_HAT)] + [(50, eta) for eta in (0, 1, SIGMA_HAT)]
DDIM = [{"w": 0.0, "steps": n, "eta": eta} for n, eta in GRID]


def sampler(setting: dict) -> measuring.Sampler:
    """A function (x_T, labels, generator) -> pictures for one row of the tables."""
    _, denoiser, _ = zoo.load(NAME)
    leaning, schedule = guided(denoiser, setting["w"]), denoiser.schedule

    def sample(x: Tensor, cond: Tensor, generator: torch.Generator) -> Tensor:
        if setting["eta"] == SIGMA_HAT:
            return final(ddpm(leaning, x, schedule, steps=setting["steps"], variance="large", cond=cond, generator=generator))
        return final(ddim(leaning, x, schedule, steps=setting["steps"], eta=setting["eta"], cond=cond, generator=generator))

    return sample


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
    options = measuring.arguments(__doc__.splitlines()[0])
    card, measured_by = zoo.read(NAME)[0], zoo.read("fashion_classifier")[0]
    weights = measuring.weights_key(NAME) + [card["clip"]]
    rows = {name: measuring.measure(settings, sampler, weights, options)
            for name, settings in (("guidance", GUIDANCE), ("steps", STEPS), ("ddim", DDIM))}
    if options.part is None:
        tables = {"weights": card["sha256"], "samples": options.samples, "seeds": measuring.SEEDS, "recommended_w": RECOMMENDED_W,
                  "floor": [round(f, 4) for f in measured_by["frechet_floor_2000"]], "test_accuracy": measured_by["test_accuracy"], **rows}
        zoo.save_tables(NAME, tables, main_figures(tables))
