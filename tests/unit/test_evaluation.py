"""Frechet distance, precision and recall, where the answers are known."""

import pytest
import torch

from diffusion_core import evaluation
from diffusion_core.evaluation import FashionClassifier, Statistics, balanced_labels, class_accuracy, frechet, precision_recall, statistics


def features(n=400, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(d, d, dtype=torch.float64, generator=generator)
    return torch.randn(n, d, dtype=torch.float64, generator=generator) @ mix + torch.randn(d, dtype=torch.float64, generator=generator)


def test_frechet_is_symmetric_and_zero_on_itself():
    a, b = features(seed=0), features(seed=1)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9) and frechet(a, b) > 1
    assert frechet(a, a) == pytest.approx(0, abs=1e-8)
    assert frechet(a, a[torch.randperm(len(a), generator=torch.Generator().manual_seed(0))]) == pytest.approx(0, abs=1e-8)


def test_frechet_is_rotation_invariant():
    a, b = features(seed=0), features(seed=1)
    turn, _ = torch.linalg.qr(features(5, 5, seed=2))
    assert frechet(a @ turn, b @ turn) == pytest.approx(frechet(a, b), rel=1e-9)
    assert frechet(a @ turn, b) != pytest.approx(frechet(a, b), rel=1e-3)


def test_frechet_of_diagonal_gaussians_in_closed_form():
    """sum (mean difference)^2 + (std difference)^2."""
    mean_a, mean_b = torch.tensor([1.0, -2, 0], dtype=torch.float64), torch.tensor([0.5, 1, 0], dtype=torch.float64)
    std_a, std_b = torch.tensor([1.0, 0.5, 3], dtype=torch.float64), torch.tensor([2.0, 0.5, 0], dtype=torch.float64)
    ours = frechet(Statistics(mean_a, torch.diag(std_a**2)), Statistics(mean_b, torch.diag(std_b**2)))
    assert ours == pytest.approx(0.25 + 9 + 1 + 9, rel=1e-12)


def test_frechet_of_commuting_covariances_and_of_samples():
    a = features(20_000, 3, seed=0)
    assert frechet(a, a + torch.tensor([1.0, 2.0, -2.0])) == pytest.approx(9, rel=1e-6)
    cov = statistics(a).cov
    centred = a - a.mean(0)
    assert frechet(centred, 3 * centred) == pytest.approx(4 * cov.trace().item(), rel=1e-9)  # (3 - 1)^2 tr C


def test_frechet_survives_dead_features():
    a, b = features(seed=0), features(seed=1)
    zero = torch.zeros(len(a), 2, dtype=torch.float64)
    assert frechet(torch.cat([a, zero], 1), torch.cat([b, zero], 1)) == pytest.approx(frechet(a, b), rel=1e-9)


def test_statistics_are_unbiased_and_in_float64():
    mean, cov = statistics(torch.tensor([[0.0, 1.0], [2.0, 5.0]]))
    assert mean.tolist() == [1, 3] and cov.tolist() == [[2, 4], [4, 8]] and cov.dtype == torch.float64


def line(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def test_precision_and_recall_on_constructed_sets():
    """Two far clusters of reals; fakes fill one, with one fake far from both: precision 4/5, recall 1/2."""
    real = line(0, 1, 2, 3, 100, 101, 102, 103)
    fake = line(0.5, 1.5, 2.5, 1.2, 50)
    precision, recall = precision_recall(real, fake, k=2)
    assert precision == 0.8
    # The lone fake at 50 has its second neighbour 48.5 away, so it reaches the reals 2 and 3 (already reached) but no cluster at 100.
    assert recall == 0.5
    assert precision_recall(fake, real, k=2) == (recall, precision)


def test_the_reach_of_a_point_is_its_kth_neighbour():
    """Reals 0, 1, 3, 7: with k = 1 the reach of 7 is 4, so 11 is within (no farther), 11.1 is not."""
    real = line(0, 1, 3, 7)
    assert precision_recall(real, line(11, 11.1), k=1)[0] == 0.5
    assert precision_recall(real, line(13, 13.1, 14), k=2)[0] == pytest.approx(1 / 3)  # with k = 2 the reach of 7 is 6
    assert precision_recall(real, real, k=1) == (1.0, 1.0)


def test_the_classifier_standardises_and_batches():
    torch.manual_seed(0)
    net = FashionClassifier().eval()
    x = torch.randn(1203, 1, 28, 28)
    raw = net.body(x[:5])
    net.feature_mean.fill_(2.0)
    net.feature_std.fill_(4.0)
    assert net.features(x).shape == (1203, 64)
    assert torch.allclose(net.features(x)[:5], (raw - 2) / 4, atol=1e-5)
    predicted = net.predict(x)
    assert torch.equal(predicted[1200:], net(x[1200:]).argmax(1))
    wrong = predicted.clone()
    wrong[:401] = (wrong[:401] + 1) % 10
    assert class_accuracy(net, x, predicted) == 1 and class_accuracy(net, x, wrong) == pytest.approx(802 / 1203)


def test_samples_are_balanced_reproducible_and_paired_with_their_labels():
    calls = []

    def sampler(x_T, labels, generator):
        calls.append(len(labels))
        return labels.float().reshape(-1, 1, 1, 1) + 0 * x_T

    pictures, labels = evaluation.samples(sampler, n=25, batch=10, shape=(1, 2, 2))
    assert calls == [10, 10, 5] and torch.equal(pictures[:, 0, 0, 0].long(), labels)
    assert torch.equal(labels, balanced_labels(25)) and labels.bincount().tolist() == [3] * 5 + [2] * 5
    noise = [evaluation.samples(lambda x, y, g: x, n=12, seed=seed, batch=5, shape=(1, 2, 2))[0] for seed in (0, 0, 1)]
    assert torch.equal(noise[0], noise[1]) and not torch.equal(noise[0], noise[2])
    assert not torch.equal(noise[0][:5], noise[0][5:10])  # each batch has its own noise
