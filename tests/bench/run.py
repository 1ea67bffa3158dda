"""Time our sampling and training in turn with diffusers' and lucidrains', and what they cost; write the tables that the book shows.

`make bench` runs it, with the environment it needs. --quick makes one short round and writes nothing.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from contestants import CLASSES, Contestant, Diffusers, Lucidrains, Ours, OursDistilled, OursOnnx  # first: it silences progress bars

import torch
from torch.utils.flop_counter import FlopCounterMode

from cost import convolution_peak, cost, exponents, plot  # noqa: E402

from diffusion_core import adams, ddim, distilled, final, zoo
from diffusion_core.data import CLASSES as CLASS_NAMES
from diffusion_core.explorers import first_frame, strength_explorer
from diffusion_core.explorers.strength import WEIGHTS
from diffusion_core.interop.onnx_runtime import onnx_denoiser

RESULTS = Path(__file__).resolve().parents[2] / "book" / "benchmarks"
PICTURES, STEPS = 16, 10
BATCH, UPDATES = 64, 8
ROUNDS = 7
PACKAGES = ("torch", "onnxruntime", "diffusers", "denoising-diffusion-pytorch")


def interleaved(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each piece of work in every round, after one that is not counted. The order turns from round to round."""
    names = list(work)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for k in range(rounds + 1):
        for name in names[k % len(names):] + names[: k % len(names)]:
            start = time.perf_counter()
            work[name]()
            if k > 0:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def compare(work: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict]:
    """For each piece of work its seconds, and its ratio to the first one within each round."""
    seconds = interleaved(work, rounds)
    ours = seconds[next(iter(work))]
    return {name: {"seconds": spread(s), "ratio": spread([a / b for a, b in zip(s, ours, strict=True)])} for name, s in seconds.items()}


def size(contestant: Contestant) -> dict[str, float]:
    """Parameters, and multiply-adds of one evaluation for one picture."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        contestant.evaluate(torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))
    return {"parameters": sum(p.numel() for p in contestant.net.parameters()), "mflop": counter.get_total_flops() / 1e6}


def sampling(contestants: list[Contestant], rounds: int) -> dict[str, dict]:
    x, labels = torch.randn(PICTURES, 1, 28, 28), torch.arange(PICTURES) % CLASSES
    for contestant in contestants:
        contestant.net.eval()
    return compare({c.name: lambda c=c: c.sample(x, labels, STEPS) for c in contestants}, rounds)


def training(contestants: list[Contestant], rounds: int, updates: int) -> dict[str, dict]:
    x0, labels = torch.rand(BATCH, 1, 28, 28) * 2 - 1, torch.arange(BATCH) % CLASSES
    for contestant in contestants:
        contestant.net.train()

    def update(contestant: Contestant) -> None:
        for _ in range(updates):
            contestant.train_on(x0, labels)

    return compare({c.name: lambda c=c: update(c) for c in contestants}, rounds)


def distilled_pictures(runs: int = 9) -> dict[str, dict[str, float]]:
    """Seconds for 16 guided pictures in one batch, each evaluation with w as an input, by ONNX Runtime; labels of row and column."""
    x, labels, ways = torch.randn(PICTURES, 1, 28, 28), torch.arange(PICTURES) % CLASSES, {}
    for name, sampler, steps in (("fashion_few4", ddim, 4), ("fashion_guided", adams, 4), ("fashion_guided", adams, 8)):
        denoiser = distilled(onnx_denoiser(zoo.load(name)[1]), 0.25)
        ways[f"{name}, {sampler.__name__}, {steps} evaluations"] = lambda d=denoiser, s=sampler, n=steps: final(s(d, x, d.schedule, steps=n, cond=labels))
    return {name: spread(seconds) for name, seconds in interleaved(ways, runs).items()}


def slider(runs: int = 5) -> dict[str, float]:
    """Seconds until the guidance explorer, in a kernel, has its first pictures (4 steps, two evaluations each) ready to be sent."""
    explorer = strength_explorer(zoo.load("fashion")[1], zoo.load("fashion_guided")[1], CLASS_NAMES, pictures=PICTURES)
    weights = [w for w in WEIGHTS if w > 0]  # w = 0 needs half the work
    first_frame(explorer, w=weights[0], who="teacher")
    return spread([first_frame(explorer, w=weights[k % len(weights)], who="teacher")[0] for k in range(runs)])


def machine() -> dict[str, object]:
    names = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")] \
        if Path("/proc/cpuinfo").exists() else []
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    return {"date": datetime.date.today().isoformat(), "cpu": names[0] if names else platform.processor() or platform.machine(),
            "cores": os.cpu_count(), "threads": torch.get_num_threads(), "system": platform.system(),
            "python": platform.python_version(), "versions": versions}


def markdown(results: dict) -> str:
    """The tables of the book."""
    m, networks = results["machine"], results["networks"]
    lines = [
        f"Measured on {m['date']}: {m['cpu']}, {m['cores']} cores, {m['threads']} threads, {m['system']}, Python {m['python']}, "
        + ", ".join(f"{package} {version}" for package, version in m["versions"].items()) + ".",
        "",
        "| package | parameters | MFLOP a picture and evaluation |",
        "|---|---|---|",
        *(f"| {name} | {n['parameters']:,} | {n['mflop']:.0f} |" for name, n in networks.items())]
    titles = {"sampling": f"Sampling {PICTURES} pictures, {STEPS} DDIM steps, guided (w = 1)",
              "training": f"Training {results['updates']} steps of {BATCH} pictures"}
    for key, title in titles.items():
        lines += ["", f"**{title}** ({results['rounds']} rounds in turn)", "",
                  "| package | time, median (s) | ratio to the first row, median | least to greatest |", "|---|---|---|---|"]
        for name, entry in results[key].items():
            s, r = entry["seconds"], entry["ratio"]
            lines.append(f"| {name} | {s['median']:.2f} | {r['median']:.2f} | {r['min']:.2f} to {r['max']:.2f} |")
    one = networks["this book"]["mflop"] * 2 * PICTURES * STEPS / 1e3
    shares = ", ".join(f"{name} {100 * one / results['sampling'][name]['seconds']['median'] / results['peak']:.0f} %"
                       for name in ("this book, ONNX Runtime", "this book", "diffusers"))
    lines += ["", f"This CPU's convolution peak, measured in the same run: {results['peak']:.0f} GFLOP/s. Share of it reached while sampling: {shares}. "
                  "Lucidrains' network has other operations, so its share is not comparable.",
              "", f"**{PICTURES} guided pictures in one batch** from the distilled networks, ONNX Runtime", "", "| network | median (ms) | least to greatest |",
              "|---|---|---|", *(f"| {name} | {1000 * s['median']:.0f} | {1000 * s['min']:.0f} to {1000 * s['max']:.0f} |"
                                 for name, s in results["distilled"].items())]
    lines += ["", "**Cost of the shipped network** against batch, resolution and steps; the slope is that of log time against log size between "
                  "neighbours: 1 means in proportion.", "", "| what grows | sizes | slopes |", "|---|---|---|"]
    lines += [f"| {key} | {', '.join(str(row['value']) for row in rows)} | {', '.join(f'{e:.2f}' for e in exponents(rows))} |"
              for key, rows in results["cost"].items()]
    first = {key: 1000 * value for key, value in results["slider"].items()}
    lines += ["", f"**Guidance slider in a kernel**: the first {PICTURES} pictures (a preview in 4 steps) are ready after {first['median']:.0f} ms "
                  f"at the median of five runs ({first['min']:.0f} to {first['max']:.0f} ms)."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one short round, written nowhere")
    quick = parser.parse_args().quick
    rounds, updates = (1, 1) if quick else (ROUNDS, UPDATES)
    torch.manual_seed(0)
    contestants: list[Contestant] = [Ours(), Diffusers(), Lucidrains()]
    for contestant in contestants:
        contestant.net.to(memory_format=torch.channels_last)  # the faster layout on CPUs, for all three
    results = {"machine": machine(), "rounds": rounds, "updates": updates, "networks": {c.name: size(c) for c in contestants},
               "peak": convolution_peak() / 1e9, "sampling": sampling([OursOnnx(contestants[0]), *contestants, OursDistilled()], rounds),
               "training": training(contestants, rounds, updates), "distilled": distilled_pictures(), "cost": cost(), "slider": slider()}
    print(markdown(results))
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        plot(results["cost"], 1e9 * results["peak"], RESULTS / "cost.svg")
        (RESULTS / "results.md").write_text(markdown(results), "utf8")
        (RESULTS / "results.json").write_text(json.dumps(results, indent=1) + "\n", "utf8")


if __name__ == "__main__":
    main()
