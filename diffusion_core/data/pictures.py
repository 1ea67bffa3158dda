"""From stored bytes to what networks see."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def to_pictures(images: np.ndarray) -> Tensor:
    """uint8 images (N, H, W) in 0 .. 255 as float32 pictures (N, 1, H, W) in [-1, 1]."""
    if images.dtype != np.uint8 or images.ndim != 3:
        raise ValueError(f"images must be uint8 of shape (N, H, W), got {images.dtype} {images.shape}")
    return torch.from_numpy(images)[:, None].float() / 127.5 - 1


def batches(images: np.ndarray, labels: np.ndarray) -> Callable[[torch.Generator, int], tuple[Tensor, Tensor]]:
    """A function (generator, n) -> n random pictures and their labels, for `training.fit`.

    The images stay uint8 in memory; only the chosen ones become floats. Every epoch-free draw is independent, with replacement.
    """
    labels = torch.from_numpy(labels.astype(np.int64))

    def draw(generator: torch.Generator, n: int) -> tuple[Tensor, Tensor]:
        index = torch.randint(len(images), (n,), generator=generator)
        return to_pictures(images[index.numpy()]), labels[index]

    return draw
