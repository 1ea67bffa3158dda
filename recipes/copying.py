"""Train one small network on more and more pictures, twice over disjoint sets: the copying_* weights and copying_tables.json (section 1.2).

Set "a" is the first N of a fixed shuffle of the bundled training pictures, so that the notebook can look for copies in it; set "b" is the first N of
a shuffle of the other 52,000. All networks have the same size, initial weights, steps, times and noise; no labels. Weights are stored in half
precision. Each is kept in runs/copying/ and goes on from its checkpoint when interrupted. `--only a16` trains one and writes no table.
"""

import argparse
import copy
import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffusion_core import NetworkDenoiser, Schedule, UNet, UNetConfig, ddim, final, q_sample, zoo
from diffusion_core.data import batches, fashion_mnist, to_pictures
from diffusion_core.plots import progress
from diffusion_core.training import Settings, fit, weighted_error

RUNS = ("a16", "a8000", "a256", "b8000", "b16", "a1024", "a64", "b256", "b1024", "b64")
CONFIG = UNetConfig(patch=2, channels=16, groups=8, head_channels=32)
SETTINGS = Settings(steps=1500, batch=64, lr=2e-3, warmup=50, gamma=5.0, drop=0.0, ema=0.99)
SCHEDULE = {"name": "cosine", "T": 1000}
SAMPLES, DDIM_STEPS = 200, 25


def pictures(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels that "a16", "b8000", .. is trained on."""
    images, labels = fashion_mnist("train")
    if name[0] == "b":
        images, labels = others(images, *fashion_mnist("train", source="full"))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0)).numpy()[: int(name[1:])]
    return images[order], labels[order]


def others(bundled: np.ndarray, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the full set that are not bundled, exact duplicates left out as well."""
    seen = {image.tobytes() for image in bundled}
    index = [k for k, image in enumerate(images) if image.tobytes() not in seen]
    return images[index], labels[index]


def train(name: str, folder: Path) -> None:
    """Train one network to its end and write its weights, rounded to half precision, with their card."""
    torch.manual_seed(0)  # layer initialisation takes no generator
    denoiser = NetworkDenoiser(UNet(CONFIG).to(memory_format=torch.channels_last), Schedule.cosine(SCHEDULE["T"]), "v")
    images, labels = pictures(name)
    draw = batches(images, labels)
    training = fit(denoiser, lambda generator, n: (draw(generator, n)[0], None), SETTINGS, checkpoint=folder / f"{name}.pt", every=250)
    for run in progress(training, total=SETTINGS.steps):
        pass
    print(name, run.log, f"{run.seconds:.0f} s", flush=True)
    card = {"kind": "diffusion", "licence": "MIT", "recipe": "copying.py", "data": f"Fashion-MNIST, {len(images):,} training pictures, set {name[0]}",
            "network": CONFIG.to_dict(), "schedule": SCHEDULE, "predicts": "v", "clip": None, "steps": run.step,
            "minutes": round(run.seconds / 60, 1), "threads": torch.get_num_threads(), "log": run.log}
    zoo.save(f"copying_{name}", copy.deepcopy(run.ema.shadow).half(), card)


@torch.no_grad()
def loss_on(denoiser: NetworkDenoiser, images: np.ndarray, n: int = 1000) -> float:
    """The trained objective over n pictures (each repeated as often as it takes) with fixed times and noise."""
    generator = torch.Generator().manual_seed(0)
    x0 = to_pictures(images[np.arange(n) % len(images)])
    t = torch.randint(1, len(denoiser.schedule) + 1, (n,), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    parts = [weighted_error(denoiser(q_sample(denoiser.schedule, x, at, e), at), denoiser.schedule, "v", x, at, e, 5.0) * len(x)
             for x, at, e in zip(x0.split(100), t.split(100), eps.split(100), strict=True)]
    return round(float(sum(parts)) / n, 5)


def sampled(denoiser: NetworkDenoiser) -> Tensor:
    """SAMPLES pictures from the same x_T for every network, flattened."""
    x = torch.randn(SAMPLES, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    return torch.cat([final(ddim(denoiser, part, denoiser.schedule, steps=DDIM_STEPS)) for part in x.split(100)]).clamp(-1, 1).flatten(1)


def nearest(x: Tensor, images: np.ndarray, k: int = 2) -> Tensor:
    """Root-mean-square pixel distances from each x to its k nearest training pictures, (N, k)."""
    return (torch.cdist(x, to_pictures(images).flatten(1)) / x.shape[1] ** 0.5).topk(k, largest=False).values


def measured(name: str, test: np.ndarray) -> tuple[dict, Tensor]:
    """What a finished network does: its losses, and how close its samples come to its training pictures and to unseen ones."""
    _, denoiser, card = zoo.load(f"copying_{name}")
    images, _ = pictures(name)
    x = sampled(denoiser)
    own = nearest(x, images)
    unseen = nearest(x, test[: len(images)])
    return {"name": name, "n": len(images), "minutes": card["minutes"], "loss_seen": loss_on(denoiser, images), "loss_unseen": loss_on(denoiser, test),
            "distance_seen": round(own[:, 0].mean().item(), 4), "distance_unseen": round(unseen[:, 0].mean().item(), 4),
            "copied": round(float((own[:, 0] < own[:, 1] / 3).double().mean()), 3)}, x


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=RUNS, default=None, help="train this one and write no table")
    parser.add_argument("--folder", type=Path, default=Path("runs/copying"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in [options.only] if options.only else RUNS:
        train(name, options.folder)
    if options.only is None:
        results = {name: measured(name, fashion_mnist("test")[0]) for name in sorted(RUNS, key=lambda name: (int(name[1:]), name))}
        agreement = [{"n": row["n"], "difference": round(float(((x - results[f"b{row['n']}"][1]) ** 2).mean(1).sqrt().mean()), 4)}
                     for name, (row, x) in results.items() if name[0] == "a"]
        table = {"samples": SAMPLES, "ddim_steps": DDIM_STEPS, "parameters": sum(v.numel() for v in zoo.read("copying_a16")[1].values()),
                 "networks": [row for row, _ in results.values()], "agreement": agreement}
        (zoo.FOLDER / "copying_tables.json").write_text(json.dumps(table, indent=1) + "\n", "utf8")
