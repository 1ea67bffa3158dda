"""Measure what the fast solvers, the relatives of guidance and the distilled networks give: diffusion_core/weights/fashion_fast_tables.json.

By the book's metric (`measuring.py`); the networks are run by ONNX Runtime, whose pictures are torch's to 1e-4. Every measurement is kept in
runs/tables/ as soon as it is made, so the recipe can be stopped and resumed. Two processes share the work with `--part 0/2` and `--part
1/2`; a last call without --part writes the table. About 30 minutes on two cores.
"""

import functools
import json

import measuring
import torch
from torch import Tensor

from diffusion_core import (adams, autoguided, classifier_guided, ddim, distilled, dpmpp_2m, final, guided, heun, interval_guided, noise_steps, rescaled,
                            thresholded, zoo)
from diffusion_core.denoisers import Denoiser, NetworkDenoiser
from diffusion_core.interop.onnx_runtime import onnx_denoiser

W = 0.25  # the weight that fashion_tables.py found best
FIRST, LAST = 990, 10  # times that a grid in noise levels runs between, sigma / alpha = 47 and 0.024
# Evaluations are guided calls, each batched into one; Heun's are 2 n - 1 for n steps. 50 cost most: three seeds for DDIM's, the mark, else one, as for Heun.
SOLVERS = [{"solver": solver, "evaluations": n} for n in (4, 8, 20) for solver in ("ddim", "dpmpp_2m", "adams")] + [
    {"solver": "adams", "rho": 30.0, "evaluations": 8}, {"solver": "ddim", "evaluations": 50}] + [
    {"solver": solver, "evaluations": 50, "seeds": 1} for solver in ("dpmpp_2m", "adams")] + [
    {"solver": "heun", "rho": 7.0, "evaluations": n, "seeds": 1} for n in (5, 9, 21, 49)]
# Classifier guidance keeps off t = T, where the network's own gradient is multiplied by (1 - alpha_bar) / sqrt(alpha_bar) = 20,000.
FAMILY = [
    {"guidance": "none"}, {"guidance": "guided", "w": 0.25}, {"guidance": "guided", "w": 1.0},
    {"guidance": "interval", "w": 1.0, "low": 300, "high": 700}, {"guidance": "rescaled", "w": 1.0, "phi": 0.7},
    {"guidance": "thresholded", "w": 1.0, "percentile": 0.995}, {"guidance": "autoguided", "w": 0.25}, {"guidance": "autoguided", "w": 1.0},
    {"guidance": "classifier", "w": 1.0, "rho": 30.0}, {"guidance": "classifier", "w": 4.0, "rho": 30.0}]
FAMILY_STEPS = 8
DISTILLED = [{"network": "fashion_guided", "solver": "adams", "evaluations": n} for n in (4, 8, 20)] + [
    {"network": "fashion_few4", "solver": "ddim", "evaluations": 4}]
NETWORKS = ("fashion", "fashion_weak", "fashion_noisy_classifier", "fashion_guided", "fashion_few4")


@functools.cache
def network(name: str) -> NetworkDenoiser:
    return onnx_denoiser(zoo.load(name)[1])


def solve(solver: str, denoiser: Denoiser, x: Tensor, evaluations: int, cond: Tensor, rho: float | None = None) -> Tensor:
    """Pictures after that many evaluations, on the trailing grid or, with rho, on EDM's."""
    run = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "adams": adams, "heun": heun}[solver]
    n = (evaluations + 1) // 2 if solver == "heun" else evaluations
    steps = n if rho is None else noise_steps(denoiser.schedule, n, rho, FIRST, LAST)
    return final(run(denoiser, x, denoiser.schedule, steps=steps, cond=cond))


def solver_row(setting: dict) -> measuring.Sampler:
    def sample(x: Tensor, cond: Tensor, generator: torch.Generator) -> Tensor:
        return solve(setting["solver"], guided(network("fashion"), W), x, setting["evaluations"], cond, setting.get("rho"))

    return sample


def leaning(guidance: str, w: float = 0.0, low: int = 1, high: int = 1000, phi: float = 0.0, percentile: float = 1.0) -> Denoiser:
    """The shipped network with one kind of guidance."""
    denoiser = network("fashion")
    return {"none": lambda: denoiser, "guided": lambda: guided(denoiser, w), "interval": lambda: interval_guided(denoiser, w, low, high),
            "rescaled": lambda: rescaled(denoiser, w, phi), "thresholded": lambda: thresholded(guided(denoiser, w), percentile),
            "autoguided": lambda: autoguided(denoiser, network("fashion_weak"), w),
            "classifier": lambda: classifier_guided(denoiser, zoo.load_noisy_classifier(), 1 + w)}[guidance]()


def family_row(setting: dict) -> measuring.Sampler:
    """Classifier guidance is made with 1 + w, so that w means the same in every row."""
    denoiser = leaning(**{key: value for key, value in setting.items() if key != "rho"})
    return lambda x, cond, generator: solve("adams", denoiser, x, FAMILY_STEPS, cond, setting.get("rho"))


def distilled_row(setting: dict) -> measuring.Sampler:
    return lambda x, cond, generator: solve(setting["solver"], distilled(network(setting["network"]), W), x, setting["evaluations"], cond)


if __name__ == "__main__":
    options = measuring.arguments(__doc__.splitlines()[0])
    tables = {"solvers": measuring.measure(SOLVERS, solver_row, measuring.weights_key("fashion"), options),
              "family": measuring.measure(FAMILY, family_row, measuring.weights_key(*NETWORKS[:3]) + [FAMILY_STEPS], options),
              "distilled": [row for name in NETWORKS[3:] for row in measuring.measure(
                  [row for row in DISTILLED if row["network"] == name], distilled_row, measuring.weights_key(name), options)]}
    if options.part is None:
        judge, _ = zoo.read("fashion_classifier")
        about = {"samples": options.samples, "seeds": measuring.SEEDS, "w": W, "family_steps": FAMILY_STEPS,
                 "floor": [round(f, 4) for f in judge["frechet_floor_2000"]]}
        (zoo.FOLDER / "fashion_fast_tables.json").write_text(json.dumps(about | tables, indent=1) + "\n", "utf8")
