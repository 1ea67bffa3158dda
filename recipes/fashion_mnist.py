"""Rebuild diffusion_core/data/fashion_mnist.npz: the first 800 training and 200 test pictures of each class, in their original order.

Source: Fashion-MNIST (MIT licence), the four files of https://github.com/zalandoresearch/fashion-mnist or of Debian's package
dataset-fashion-mnist 0.0~git20200523.55506a9-1. The checksum printed is over the decoded arrays, because zip files differ by zlib version.
"""

import hashlib

import numpy as np

from diffusion_core.data.fashion import BUNDLE, BUNDLE_SHA256, fashion_mnist

EACH = {"train": 800, "test": 200}


def first_of_each_class(labels: np.ndarray, n: int) -> np.ndarray:
    """Indices of the first n entries of each class, rising."""
    return np.sort(np.concatenate([np.flatnonzero(labels == c)[:n] for c in np.unique(labels)]))


def build() -> dict[str, np.ndarray]:
    arrays = {}
    for split, n in EACH.items():
        images, labels = fashion_mnist(split, source="full")
        index = first_of_each_class(labels, n)
        arrays |= {f"{split}_images": images[index], f"{split}_labels": labels[index]}
    return arrays


if __name__ == "__main__":
    arrays = build()
    np.savez_compressed(BUNDLE, **arrays)
    for name, array in arrays.items():
        sha256 = hashlib.sha256(array.tobytes()).hexdigest()
        print(name, array.shape, sha256, "as recorded" if sha256 == BUNDLE_SHA256[name] else "NOT as recorded in data/fashion.py")
