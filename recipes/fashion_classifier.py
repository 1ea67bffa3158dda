"""Train and measure the Fashion-MNIST classifier, by recipes/fashion_classifier.toml. Needs the full set: about 5 minutes on one core."""

import json
import time
import tomllib
from pathlib import Path

import torch

from diffusion_core import zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.evaluation import class_accuracy, frechet, statistics, train_classifier

if __name__ == "__main__":
    recipe = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf8"))
    name = recipe.pop("name")
    sets = {}
    for split in ("train", "test"):
        images, labels = fashion_mnist(split, source="full")
        sets[split] = to_pictures(images), torch.from_numpy(labels).long()
    start = time.perf_counter()
    net = train_classifier(*sets["train"], **recipe)
    minutes = (time.perf_counter() - start) / 60

    raw = net.features(sets["train"][0])
    net.feature_mean.copy_(raw.mean(0))
    net.feature_std.copy_(raw.std(0))
    for buffer, value in zip((net.test_mean, net.test_cov), statistics(net.features(sets["test"][0])), strict=True):
        buffer.copy_(value)

    train_features = net.features(sets["train"][0])
    order = torch.randperm(len(train_features), generator=torch.Generator().manual_seed(0))
    floor = [frechet(train_features[part], net.test_statistics) for part in order[:6000].split(2000)]
    card = {
        "kind": "classifier", "licence": "MIT", "data": "Fashion-MNIST, 60,000 training pictures", "recipe": recipe,
        "minutes": round(minutes, 1), "threads": torch.get_num_threads(),
        "test_accuracy": class_accuracy(net, *sets["test"]), "train_accuracy": class_accuracy(net, *sets["train"]),
        "frechet_floor_2000": floor,
    }
    zoo.save(name, net, card)
    print(json.dumps(card, indent=1))
