"""Measure how likely the shipped networks find Fashion-MNIST's test pictures: diffusion_core/weights/fashion_likelihood_tables.json.

In bits per dimension of the first pictures of the test set, 256 grey levels, labels given. Two figures, both upper bounds of the
negative log-likelihood: the variational bound over all 1000 steps, one draw of x_t a picture and time, for every variance the network has
(all from one evaluation), with x0-hat limited to [-1, 1], as published code does, and as it is; and the probability flow's density of x_1
at pictures with even noise of one grey level's width added (uniform dequantisation), estimated with one random vector.
Every batch is kept in runs/likelihood/ as soon as it is measured, so the recipe can be stopped and resumed; delete that folder to measure
anew. About 10 minutes on one core.
"""

import argparse
import hashlib
import json
import math
import os
from pathlib import Path

import torch
from torch import Tensor

from diffusion_core import q_sample, zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.denoisers import NetworkDenoiser
from diffusion_core.likelihood import bits_per_dim, flow_log_prob, vlb_prior, vlb_term
from diffusion_core.plots import progress

VARIANCES = {"fashion": ("small", "large"), "fashion_learned": ("small", "large", "learned")}
LIMITS = (None, 1.0)  # of x0-hat
PICTURES, BATCH = 128, 32
FLOW_PICTURES, FLOW_STEPS = 16, 50
BIN = 2 / 255  # width of a grey level on [-1, 1]
EDGES = sorted({round(1000 ** (k / 30)) for k in range(31)} | {1001})  # the curve holds the mean over t = EDGES[k] .. EDGES[k + 1] - 1


def bound(denoiser: NetworkDenoiser, variances: tuple[str, ...], x0: Tensor, cond: Tensor, generator: torch.Generator) -> dict:
    """Bits per dimension of every picture: the prior's and, for each (variance, limit), the terms (N, T) of t = 1 .. T."""
    terms = {(variance, limit): [] for variance in variances for limit in LIMITS}
    for t in progress(range(1, len(denoiser.schedule) + 1)):
        x_t = q_sample(denoiser.schedule, x0, t, torch.randn(x0.shape, generator=generator))
        free = denoiser(x_t, t, cond)
        for variance, limit in terms:
            prediction = free if limit is None else free.clamp(limit)
            terms[variance, limit].append(vlb_term(prediction, denoiser.schedule, x0, t, variance=variance))
    return {"prior": bits_per_dim(vlb_prior(denoiser.schedule, x0), x0)} | {
        key: bits_per_dim(torch.stack(of_times, 1), x0) for key, of_times in terms.items()}


def summary(measured: dict) -> dict:
    """What is kept of a batch: one figure a picture, and the sums over pictures and a few times of the curve."""
    rows = []
    for (variance, limit), terms in ((key, value) for key, value in measured.items() if key != "prior"):
        curve = [terms[:, a - 1 : b - 1].mean(1).sum().item() for a, b in zip(EDGES, EDGES[1:], strict=False)]
        rows.append({"variance": variance, "limit": limit, "decoder": terms[:, 0].tolist(), "kl": terms[:, 1:].sum(1).tolist(),
                     "curve": curve})
    return {"prior": measured["prior"].tolist(), "rows": rows}


def flow(denoiser: NetworkDenoiser, x0: Tensor, cond: Tensor, generator: torch.Generator) -> dict:
    """Bits per dimension of every picture by the probability flow: -log2 of the density of x_1 times the volume of one level's bin."""
    x = x0 + BIN * (torch.rand(x0.shape, generator=generator) - 0.5)
    log_p = flow_log_prob(denoiser, denoiser.schedule, x, t=1, steps=FLOW_STEPS, probes=1, cond=cond, generator=generator)
    return {"flow": (bits_per_dim(-log_p, x0) - math.log2(BIN)).tolist()}


def measure(name: str, kind: str, start: int, count: int) -> dict:
    """One batch: the test pictures start .. start + count - 1. The noise of a batch is the same for every network."""
    _, denoiser, _ = zoo.load(name)
    pictures, labels = fashion_mnist("test")
    x0, cond = to_pictures(pictures[start : start + count]), torch.as_tensor(labels[start : start + count]).long()
    generator = torch.Generator().manual_seed(start)
    if kind == "flow":
        return flow(denoiser, x0, cond, generator)
    with torch.no_grad():
        return summary(bound(denoiser, VARIANCES[name], x0, cond, generator))


def kept(folder: Path, name: str, kind: str, start: int, count: int) -> dict:
    """The result of a batch, measured if it is not there yet; its file's name changes with the weights."""
    card, _ = zoo.read(name)
    key = json.dumps([card["sha256"], kind, start, count, VARIANCES[name], EDGES, FLOW_STEPS])
    file = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not file.exists():
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(measure(name, kind, start, count)))
        os.replace(partial, file)
    return json.loads(file.read_text())


def batches(n: int) -> list[tuple[int, int]]:
    """(start, count) of n pictures."""
    return [(start, min(BATCH, n - start)) for start in range(0, n, BATCH)]


def mean_and_error(values: list[float]) -> list[float]:
    """Mean over pictures and its standard error."""
    of = torch.tensor(values, dtype=torch.float64)
    return [float(f"{value:.5g}") for value in (of.mean().item(), (of.std() / len(of) ** 0.5).item())]


def table(folder: Path, name: str, n: int, flow_n: int) -> dict:
    """All figures of one network, each as [mean, standard error] over pictures.

    "above_large": what the total exceeds that of the large variance by, on the same pictures and noise. "curve": the mean term in each
    range of t.
    """
    parts = [kept(folder, name, "bound", *batch) for batch in batches(n)]
    flows = [kept(folder, name, "flow", *batch) for batch in batches(flow_n)]
    prior, rows, totals = [p for part in parts for p in part["prior"]], [], {}
    for same in zip(*(part["rows"] for part in parts), strict=True):
        decoder, kl = ([value for row in same for value in row[term]] for term in ("decoder", "kl"))
        total = [sum(terms) for terms in zip(prior, kl, decoder, strict=True)]
        curve = [float(f"{sum(of_range) / n:.4g}") for of_range in zip(*(row["curve"] for row in same), strict=True)]
        variance, limit = same[0]["variance"], same[0]["limit"]
        totals[variance, limit] = total
        rows.append({"variance": variance, "limit": limit, "total": mean_and_error(total), "kl": mean_and_error(kl),
                     "decoder": mean_and_error(decoder), "curve": curve})
    for row in rows:
        pairs = zip(totals[row["variance"], row["limit"]], totals["large", row["limit"]], strict=True)
        row["above_large"] = mean_and_error([a - b for a, b in pairs])
    card, _ = zoo.read(name)
    return {"weights": card["sha256"], "prior": mean_and_error(prior), "rows": rows,
            "flow": mean_and_error([value for part in flows for value in part["flow"]])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--flow-pictures", type=int, default=FLOW_PICTURES)
    parser.add_argument("--folder", type=Path, default=Path("runs/likelihood"))
    options = parser.parse_args()
    for name in VARIANCES:
        zoo.read(name)  # raises for a network that is not there, before anything is measured
    options.folder.mkdir(parents=True, exist_ok=True)
    networks = {name: table(options.folder, name, options.pictures, options.flow_pictures) for name in VARIANCES}
    measured = {"pictures": options.pictures, "flow_pictures": options.flow_pictures, "flow_steps": FLOW_STEPS, "edges": EDGES, **networks}
    (zoo.FOLDER / "fashion_likelihood_tables.json").write_text(json.dumps(measured, indent=1) + "\n", "utf8")
