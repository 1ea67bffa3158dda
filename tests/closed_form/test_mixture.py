"""The oracle itself: mixture densities, scores and posterior means against torch.distributions, automatic differentiation, quadrature."""

import math

import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from diffusion_core import NULL, GaussianMixture, Schedule

SCHEDULES = {"linear": Schedule.linear(1000), "cosine": Schedule.cosine(1000), "short": Schedule.linear(7)}
K, D, N = 4, 3, 6
LABELS = torch.tensor([0, 0, 1, 2])
WEIGHTS = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64)


def rand(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def covariances(kind):
    """The covariances in the form the mixture takes, and all of them as (K, D, D)."""
    if kind == "isotropic":
        scale = rand(K, seed=5).exp() / 4
        return scale, scale[:, None, None] * torch.eye(D, dtype=torch.float64)
    if kind == "diagonal":
        spread = rand(K, D, seed=5).exp() / 4
        return spread, torch.diag_embed(spread)
    root = rand(K, D, D, seed=5) / 2
    full = root @ root.mT + 0.05 * torch.eye(D, dtype=torch.float64)
    return (full + full.mT) / 2, (full + full.mT) / 2


def mixture(kind="full"):
    return GaussianMixture(WEIGHTS, rand(K, D, seed=4), covariances(kind)[0], LABELS)


def independent_log_prob(kind, schedule, x, t, label):
    """log p_t(x | label) of single rows, by torch.distributions, label NULL for the whole mixture."""
    a = schedule.alpha_bar[t]
    keep = torch.arange(K) if label == NULL else (label == LABELS).nonzero().flatten()
    cov = a * covariances(kind)[1][keep] + (1 - a) * torch.eye(D, dtype=torch.float64)
    parts = MultivariateNormal(a.sqrt() * rand(K, D, seed=4)[keep], cov)
    return MixtureSameFamily(Categorical(WEIGHTS[keep]), parts).log_prob(x)


CONDITIONS = {"none": None, "one": torch.tensor(1), "a row": torch.tensor([0, 1, 2, NULL, 0, NULL])}


def times(name, per_row):
    T = len(SCHEDULES[name])
    return torch.tensor([1, 2, T // 2, T // 2 + 1, T - 1, T]) if per_row else max(1, T // 3)


@pytest.mark.parametrize("cond", CONDITIONS)
@pytest.mark.parametrize("per_row", [False, True], ids=["t", "t a row"])
@pytest.mark.parametrize("kind", ["full", "diagonal", "isotropic"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_everything_follows_from_log_p(name, kind, per_row, cond):
    """log p_t equals torch.distributions', its gradient the score, and Tweedie's formula gives the denoiser: all to 1e-10."""
    schedule, gm, t, y = SCHEDULES[name], mixture(kind), times(name, per_row), CONDITIONS[cond]
    x = (2 * rand(N, D, seed=1)).requires_grad_()
    log_prob = gm.log_prob(schedule, x, t, y)
    t_rows = torch.as_tensor(t).expand(N)
    y_rows = torch.full((N,), NULL) if y is None else y.expand(N)
    expected = torch.stack([independent_log_prob(kind, schedule, x[i], int(t_rows[i]), int(y_rows[i])) for i in range(N)])
    assert torch.allclose(log_prob, expected, rtol=0, atol=1e-10)

    score, = torch.autograd.grad(expected.sum(), x)
    x = x.detach()
    scale = score.abs().max().clamp(min=1)
    assert ((gm.score(schedule, x, t, y) - score).abs() / scale).max() < 1e-10
    prediction = gm.denoiser(schedule)(x, t, y)
    assert ((prediction.score - score).abs() / scale).max() < 1e-10
    a = schedule.alpha_bar[t_rows][:, None]
    assert (prediction.x0 - (x + (1 - a) * score) / a.sqrt()).abs().max() < 1e-10 / a.sqrt().min()
    assert (prediction.eps + (1 - a).sqrt() * score).abs().max() < 1e-10 * scale
    assert (prediction.v - (a.sqrt() * prediction.eps - (1 - a).sqrt() * prediction.x0)).abs().max() < 1e-9


LINE = torch.linspace(-6, 6, 24_001, dtype=torch.float64)  # the trapezium rule on it is exact to rounding for these densities


def prior_density(label=NULL):
    """Two classes on a line, written out."""
    parts = [(0.3, -1.0, 0.04), (0.5, 0.5, 0.25), (0.2, 1.5, 0.01)]
    labels = [0, 1, 1]
    p = sum(w * torch.exp(-((LINE - m) ** 2) / (2 * c)) / math.sqrt(2 * math.pi * c)
            for (w, m, c), y in zip(parts, labels, strict=True) if label in (NULL, y))
    return p / torch.trapezoid(p, LINE)


def mixture_on_a_line():
    return GaussianMixture(torch.tensor([0.3, 0.5, 0.2]), torch.tensor([[-1.0], [0.5], [1.5]], dtype=torch.float64),
                           torch.tensor([0.04, 0.25, 0.01], dtype=torch.float64), torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("label", [NULL, 0, 1])
@pytest.mark.parametrize("t", [5, 100, 500, 1000])
def test_density_and_posterior_mean_by_quadrature(t, label):
    """p_t(x) is the integral of p(x0) q(x | x0), E[x0 | x] its first moment over it: q_sample's path, not its closed form."""
    schedule, gm = SCHEDULES["linear"], mixture_on_a_line()
    a = schedule.alpha_bar[t]
    x = torch.linspace(-2.5, 2.5, 11, dtype=torch.float64)
    kernel = torch.exp(-((x[:, None] - a.sqrt() * LINE) ** 2) / (2 * (1 - a))) / torch.sqrt(2 * math.pi * (1 - a))
    joint = prior_density(label) * kernel
    density = torch.trapezoid(joint, LINE)
    cond = None if label == NULL else label
    assert torch.allclose(gm.log_prob(schedule, x[:, None], t, cond).exp(), density, rtol=1e-6, atol=1e-12)
    mean = torch.trapezoid(joint * LINE, LINE) / density
    likely = density > 1e-9  # elsewhere the quotient of two underflowing integrals says nothing
    assert likely.sum() >= 4
    assert torch.allclose(gm.posterior_mean(schedule, x[:, None], t, cond)[likely, 0], mean[likely], atol=1e-5)


@pytest.mark.parametrize("t", [0, 1, 300, 1000])
def test_density_integrates_to_one(t):
    p = mixture_on_a_line().log_prob(SCHEDULES["linear"], LINE[:, None], t).exp()
    assert torch.trapezoid(p, LINE).item() == pytest.approx(1, abs=1e-8)


def test_at_t_0_the_density_is_the_data_and_the_posterior_mean_is_x():
    gm, x = mixture_on_a_line(), torch.tensor([[-1.0], [0.0], [1.4]], dtype=torch.float64)
    index = [int((LINE - v).abs().argmin()) for v in x[:, 0]]
    assert torch.allclose(gm.log_prob(SCHEDULES["linear"], x, 0).exp(), prior_density()[index], atol=1e-9)
    assert torch.allclose(gm.posterior_mean(SCHEDULES["linear"], x, 0), x, atol=1e-12)


@pytest.mark.parametrize("cond", [None, 0])
def test_samples_have_the_moments_of_the_mixture(cond):
    gm = mixture()
    x, part = gm.sample(200_000, torch.Generator().manual_seed(0), cond)
    keep = torch.arange(K) if cond is None else (cond == LABELS).nonzero().flatten()
    w = WEIGHTS[keep] / WEIGHTS[keep].sum()
    means, cov = rand(K, D, seed=4)[keep], covariances("full")[1][keep]
    mean = w @ means
    expected = (w[:, None, None] * (cov + (means - mean)[:, :, None] * (means - mean)[:, None, :])).sum(0)
    assert torch.allclose(x.mean(0), mean, atol=0.01)  # six standard errors
    assert torch.allclose(torch.cov(x.T), expected, atol=0.03)
    assert torch.allclose(part.bincount(minlength=K).double()[keep] / len(x), w, atol=0.007)
    assert set(part.tolist()) == set(keep.tolist())


def test_a_translated_mixture_has_a_translated_posterior_mean():
    """E[x0 + b | x_t + sqrt(alpha_bar) b] = E[x0 | x_t] + b: catches a mean that is not diffused with the data."""
    schedule, b = SCHEDULES["cosine"], torch.tensor([3.0, -2.0, 0.5], dtype=torch.float64)
    x, t = rand(N, D, seed=1), 400
    moved = GaussianMixture(WEIGHTS, rand(K, D, seed=4) + b, covariances("full")[0])
    ours = moved.posterior_mean(schedule, x + schedule.alpha_bar[t].sqrt() * b, t)
    assert torch.allclose(ours, mixture().posterior_mean(schedule, x, t) + b, atol=1e-10)
