"""How good are samples: Frechet distance, precision and recall, and class accuracy, all in the features of one shipped classifier."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

FEATURES = 64


class FashionClassifier(nn.Module):
    """A small convolutional network: pictures (N, 1, 28, 28) in [-1, 1] to 10 class logits through 64 features.

    Buffers hold the mean and standard deviation of each feature over the training set, and mean and covariance of the standardised
    features over the 10,000 test pictures, the reference of every Frechet distance in the book.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Conv2d(64, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(64 * 16, FEATURES), nn.ReLU())
        self.last = nn.Linear(FEATURES, 10)
        self.register_buffer("feature_mean", torch.zeros(FEATURES))
        self.register_buffer("feature_std", torch.ones(FEATURES))
        self.register_buffer("test_mean", torch.zeros(FEATURES, dtype=torch.float64))
        self.register_buffer("test_cov", torch.eye(FEATURES, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x))

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """The 64 features before the last layer, standardised on the training set, (N, 64); computed 1,000 pictures at a time."""
        return torch.cat([(self.body(part) - self.feature_mean) / self.feature_std for part in x.split(1000)])

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The likeliest class of each picture, (N,)."""
        return torch.cat([self(part).argmax(1) for part in x.split(1000)])

    @property
    def test_statistics(self) -> "Statistics":
        """Mean and covariance of the features of the 10,000 test pictures."""
        return Statistics(self.test_mean, self.test_cov)


class Statistics(NamedTuple):
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: Tensor
    cov: Tensor


def statistics(features: Tensor) -> Statistics:
    """Mean and (unbiased) covariance of features (N, D); raises ValueError for fewer than 2 rows."""
    if features.dim() != 2 or len(features) < 2:
        raise ValueError(f"features must have shape (N, D) with N >= 2, got {tuple(features.shape)}")
    if not bool(features.isfinite().all()):
        raise ValueError("features must be finite")
    features = features.double().cpu()
    return Statistics(features.mean(0), torch.cov(features.T))


def frechet(features_a: Tensor | Statistics, features_b: Tensor | Statistics) -> float:
    """|mean_a - mean_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2) for features (N, D) or their `Statistics` (Heusel et al. 2017, eq. 6).

    The distance between the Gaussians with these means and covariances A, B. It depends on the number of samples: compare equal numbers.
    """
    a, b = (f if isinstance(f, Statistics) else statistics(f) for f in (features_a, features_b))
    if a.mean.shape != b.mean.shape:
        raise ValueError(f"features have {len(a.mean)} and {len(b.mean)} dimensions")
    values, vectors = torch.linalg.eigh(a.cov)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # eigvalsh of the symmetric form: no complex square root, and rounding can only make a small value negative, never the sum.
    cross = torch.linalg.eigvalsh(root @ b.cov @ root).clamp(min=0).sqrt().sum()
    return float(((a.mean - b.mean) ** 2).sum() + a.cov.trace() + b.cov.trace() - 2 * cross)


def precision_recall(real: Tensor, fake: Tensor, k: int = 3) -> tuple[float, float]:
    """Share of fakes within reach of the reals, and of reals within reach of the fakes (Kynkaanniemi et al. 2019, equations 1-2).

    Features are (N, D) and (M, D). A point is within reach of a set if it is no farther from some point of it than that point's k-th
    nearest neighbour in the set. Raises ValueError unless both sets have more than k points.
    """
    if min(len(real), len(fake)) <= k:
        raise ValueError(f"each set needs more than k = {k} points, got {len(real)} and {len(fake)}")

    def covered(points: Tensor, by: Tensor) -> float:
        radius = torch.cdist(by, by).kthvalue(k + 1).values  # the nearest of all is the point itself
        return float((torch.cdist(points, by) <= radius).any(1).double().mean())

    return covered(fake, real), covered(real, fake)


def class_accuracy(classifier: FashionClassifier, x: Tensor, labels: Tensor) -> float:
    """Share of pictures the classifier takes for what they were meant to be."""
    return float((classifier.predict(x) == labels).double().mean())


def balanced_labels(n: int, classes: int = 10) -> Tensor:
    """n labels 0, 1, .., 9, 0, 1, ..: every class equally often, LongTensor (n,)."""
    return torch.arange(n) % classes


def samples(sampler: Callable[[Tensor, Tensor, torch.Generator], Tensor], n: int = 2000, seed: int = 0, batch: int = 100,
            shape: tuple[int, ...] = (1, 28, 28)) -> tuple[Tensor, Tensor]:
    """n pictures sampler(x_T, labels, generator) with balanced labels, batch by batch, and those labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = balanced_labels(n)
    parts = [sampler(torch.randn(len(part), *shape, generator=generator), part, generator) for part in labels.split(batch)]
    return torch.cat(parts), labels


def classifier() -> FashionClassifier:
    """The shipped classifier, in evaluation mode."""
    from . import zoo

    return zoo.load_classifier()
