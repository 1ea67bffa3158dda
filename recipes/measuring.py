"""What the recipes that measure have in common: the book's metric, and results that are kept as soon as they are made.

The metric: 2,000 samples, classes balanced, against the 10,000 test pictures, in the shipped classifier's features, 3 seeds.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from diffusion_core import zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.evaluation import class_accuracy, classifier, frechet, precision_recall, samples
from diffusion_core.plots import progress

SAMPLES, SEEDS = 2000, (0, 1, 2)
Sampler = Callable[[Tensor, Tensor, object], Tensor]  # (x_T, labels, generator) -> pictures


def quality(sampler: Sampler, seed: int, n: int) -> dict:
    """Frechet distance to the test set, class accuracy, precision and recall of n samples."""
    net = classifier()
    x, labels = samples(sampler, n, seed)
    features = net.features(x)
    precision, recall = precision_recall(net.features(to_pictures(fashion_mnist("test")[0])), features)
    return {"frechet": frechet(features, net.test_statistics), "accuracy": class_accuracy(net, x, labels),
            "precision": precision, "recall": recall}


def weights_key(*names: str) -> list:
    """What a measurement of these networks depends on beside its settings: their weights and the classifier's."""
    return [zoo.read(name)[0]["sha256"] for name in (*names, "fashion_classifier")]


def kept(folder: Path, key: object, make: Callable[[], dict]) -> dict:
    """The result of make(), read from folder if it was made before under the same key."""
    file = folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(make()))
        os.replace(partial, file)
    return json.loads(file.read_text())


def measure(settings: list[dict], make_sampler: Callable[[dict], Sampler], weights: list, options: argparse.Namespace) -> list[dict]:
    """Each setting with a list over seeds for every figure; with --part only that share is measured, and the list is empty.

    A setting with "seeds" is measured for so many of them only.
    """
    part, parts = map(int, (options.part or "0/1").split("/"))

    def one(setting: dict, seed: int) -> dict:
        setting = {key: value for key, value in setting.items() if key != "seeds"}
        return kept(options.folder, [weights, setting, seed, options.samples], lambda: quality(make_sampler(setting), seed, options.samples))

    def seeds(setting: dict) -> tuple[int, ...]:
        return SEEDS[: setting.get("seeds")]

    for setting, seed in progress([(setting, seed) for seed in SEEDS for setting in settings if seed in seeds(setting)][part::parts]):
        one(setting, seed)
    if options.part is not None:
        return []
    results = [(setting, [one(setting, seed) for seed in seeds(setting)]) for setting in settings]
    return [setting | {key: [round(r[key], 4) for r in runs] for key in runs[0]} for setting, runs in results]


def arguments(description: str) -> argparse.Namespace:
    """--part i/n makes the i-th n-th of the measurements and writes no table; --samples and --folder for trials."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--part", default=None, help="i/n: make the i-th n-th of the measurements and write no table")
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--folder", type=Path, default=Path("runs/tables"))
    return parser.parse_args()
