"""Measure what section 5.1 says of trained networks: diffusion_core/weights/fashion_practice_tables.json.

First: the transformer "fashion_dit" against the UNet trained equally long, "fashion_unet_short" (train both before), by the loss on the bundled test
pictures and by Frechet distance. Then averaging: the short UNet trains on at a constant learning rate beside averages of several decays. The metric
is the book's (2,000 samples, classes balanced, 3 seeds), with 10 deterministic steps and no guidance. Results are kept in runs/practice/ as soon as
they are made, so the recipe can be stopped and resumed. `--averaging` makes the second part only, which needs no transformer, and writes no table.
About 15 minutes on one core.
"""

import argparse
import json
from pathlib import Path

import measuring
import torch
from torch import Tensor, nn

from diffusion_core import NetworkDenoiser, ddim, final, zoo
from diffusion_core.data import batches, fashion_mnist, to_pictures
from diffusion_core.evaluation import class_accuracy, classifier, frechet, samples
from diffusion_core.plots import progress
from diffusion_core.training import EMA, Settings, fit, loss, seeded

NETWORKS, STEPS = ("fashion_dit", "fashion_unet_short"), 10
ON, DECAYS = Settings(steps=300, lr=1e-3, lr_end=1.0, warmup=20, seed=1), (0.9, 0.98, 0.995)


def held_out(denoiser: NetworkDenoiser, n: int = 1000) -> float:
    """The training loss (min-SNR weight, gamma 5) on n bundled test pictures, their times spread evenly, their noise always the same."""
    images, labels = fashion_mnist("test")
    x0, cond = to_pictures(images[:n]), torch.from_numpy(labels[:n]).long()
    T = len(denoiser.schedule)
    t = (torch.arange(n) * T) // n + 1
    eps = torch.randn(x0.shape, generator=seeded(99))
    with torch.no_grad():
        parts = [float(loss(denoiser, *rows, gamma=5.0)) for rows in zip(*(a.split(100) for a in (x0, t, eps, cond)), strict=True)]
    return sum(parts) / len(parts)


def distance(denoiser: NetworkDenoiser, seed: int) -> dict:
    """Frechet distance and class accuracy of deterministic samples without guidance."""
    def sample(x: Tensor, cond: Tensor, generator: torch.Generator) -> Tensor:
        return final(ddim(denoiser, x, denoiser.schedule, steps=STEPS, cond=cond))

    judge = classifier()
    x, labels = samples(sample, measuring.SAMPLES, seed)
    return {"frechet": frechet(judge.features(x), judge.test_statistics), "accuracy": class_accuracy(judge, x, labels)}


def over_seeds(name: str, denoiser: NetworkDenoiser, folder: Path) -> dict:
    """Frechet distance and class accuracy for each seed; name and weights are the key under which they are kept."""
    key = [name, sum(float(p.detach().double().abs().sum()) for p in denoiser.net.parameters())]
    found = [measuring.kept(folder, [*key, seed], lambda seed=seed: distance(denoiser, seed)) for seed in measuring.SEEDS]
    return {figure: [round(row[figure], 4) for row in found] for figure in ("frechet", "accuracy")}


def compared(folder: Path) -> list[dict]:
    """One row for each of NETWORKS."""
    table = []
    for name in NETWORKS:
        net, denoiser, card = zoo.load(name)
        table.append({"name": name, "parameters": sum(p.numel() for p in net.parameters()), "steps": card["steps"], "log": card["log"],
                      "loss": round(held_out(denoiser), 5), **over_seeds(name, denoiser, folder)})
        print(table[-1], flush=True)
    return table


def averaged(folder: Path) -> dict:
    """The short UNet trained on at a constant rate: losses of raw weights and averages as it goes, and distances of both at the end."""
    net, denoiser, _ = zoo.load("fashion_unet_short")
    net.train().requires_grad_(True)
    averages = {d: EMA(net, d) for d in DECAYS}
    for average in averages.values():
        average.updates = 10**6  # the weights are trained already: no ramp

    def losses() -> list[float]:
        nets: list[nn.Module] = [net, *(average.shadow for average in averages.values())]
        return [round(held_out(NetworkDenoiser(n, denoiser.schedule, denoiser.predicts)), 5) for n in nets]

    log = [[0, *losses()]]
    for run in progress(fit(denoiser, batches(*fashion_mnist("train", source="full")), ON), total=ON.steps):
        for average in averages.values():
            average.update(net)
        if run.step % 25 == 0:
            log.append([run.step, *losses()])
            print(log[-1], flush=True)
    ends = {"raw": net.eval(), **{str(d): average.shadow for d, average in averages.items() if d in (0.98,)}}
    schedule, predicts = denoiser.schedule, denoiser.predicts
    return {"settings": {"steps": ON.steps, "lr": ON.lr, "batch": ON.batch}, "decays": DECAYS, "log": log,
            "ends": {name: over_seeds(f"averaged {name}", NetworkDenoiser(n, schedule, predicts), folder) for name, n in ends.items()}}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--averaging", action="store_true", help="make this part only")
    parser.add_argument("--folder", type=Path, default=Path("runs/practice"), help="folder for kept results")
    options = parser.parse_args()
    averaging = measuring.kept(options.folder, ["averaging", zoo.read("fashion_unet_short")[0]["sha256"]], lambda: averaged(options.folder))
    if not options.averaging:
        tables = {"weights": {name: zoo.read(name)[0]["sha256"] for name in NETWORKS}, "samples": measuring.SAMPLES, "seeds": measuring.SEEDS,
                  "sampling_steps": STEPS, "networks": compared(options.folder), "averaging": averaging}
        (zoo.FOLDER / "fashion_practice_tables.json").write_text(json.dumps(tables, indent=1) + "\n", "utf8")
