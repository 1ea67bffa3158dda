"""The numbered equations of section 5.3, each against another route: counts, quadrature, the sampler's limit, automatic differentiation."""

import math

import pytest
import torch
from bindings import checks
from plane import EXACT, LABELS, SCHEDULE, WEIGHTS, double, gradient, log_p

from diffusion_core import GaussianMixture, Prediction, Schedule, autoguided, classifier_guided, ddim, final, guided, interval_guided, rescaled
from diffusion_core.denoisers import FunctionDenoiser

TIMES = pytest.mark.parametrize("t", [50, 400, 900])


def some_points(n=200):
    return 1.5 * torch.randn(n, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@checks("eq-practice-cfg-rows")
@pytest.mark.parametrize(("low", "high"), [(1, 1000), (250, 500), (251, 499), (600, 599), (1000, 1000), (50, 50)])
def test_rows_are_counted_where_the_network_is_called(low, high):
    N, grid, rows = 3, list(range(1000, 0, -50)), []

    def predict(x_t, t, cond):
        rows.append(len(x_t))
        return EXACT(x_t, t, cond)

    final(ddim(interval_guided(FunctionDenoiser(SCHEDULE, predict), 2.0, low, high), some_points(N), SCHEDULE, steps=20, cond=0))
    inside = sum(low <= t <= high for t in grid)
    assert sum(rows) == N * (len(grid) + inside) and len(rows) == len(grid)


def noise_to_signal(u):
    """The ratio's square, at t / T = u, of the uncapped cosine schedule."""
    angle = lambda v: (v + 0.008) / 1.008 * math.pi / 2
    a = math.cos(angle(u)) ** 2 / math.cos(angle(0)) ** 2
    return (1 - a) / a


def sampled_spread(make, low, high, lengths=(250, 500)):
    """Where the flow takes one standard deviation: DDIM with all steps of two schedules; halving a step halves its error."""
    ends = []
    for T in lengths:
        schedule = Schedule.cosine(T)
        end = final(ddim(make(schedule, round(low * T) + 1, round(high * T)), double([[1.0]]), schedule, steps=T, cond=0))
        ends.append(float(end.abs()))
    return 2 * ends[1] - ends[0]


@checks("eq-practice-cfg-window")
@pytest.mark.parametrize(("low", "high"), [(0.0, 0.2), (0.2, 0.6), (0.6, 0.9)])
@pytest.mark.parametrize("w", [1.0, -0.5])
def test_guidance_in_a_window_shrinks_a_gaussian(low, high, w):
    c, C = 0.25, 1.5
    start, end = noise_to_signal(low), noise_to_signal(high)
    formula = math.sqrt(c) * ((c + start) * (C + end) / ((c + end) * (C + start))) ** (w / 2)
    r = torch.linspace(math.sqrt(start), math.sqrt(end), 20_001, dtype=torch.float64)
    integrand = r * w * (1 / (c + r**2) - 1 / (C + r**2))  # of d log x / dr beyond the unguided flow, which runs backwards
    by_quadrature = math.sqrt(c) * math.exp(-float(torch.trapezoid(integrand, r)))
    assert formula == pytest.approx(by_quadrature, rel=1e-7)
    pair = GaussianMixture(torch.ones(2), double([[0.0], [0.0]]), double([c, C]), labels=torch.tensor([0, 1]))
    sampled = sampled_spread(lambda schedule, a, b: interval_guided(pair.denoiser(schedule), w, a, b, null=1), low, high)
    assert formula == pytest.approx(sampled, rel=1e-3)


@checks("eq-practice-cfg-spread")
@pytest.mark.parametrize(("c", "C", "w"), [(0.25, 1.5, 1.0), (0.4, 0.6, 2.0), (0.5, 0.3, 0.5)])
def test_guidance_at_all_times_shrinks_by_a_power(c, C, w):
    """By autoguidance, of which it is said too, and by the label in the null's place."""
    formula = math.sqrt(c) * (c / C) ** (w / 2)
    good, weak = (GaussianMixture(torch.ones(1), double([[0.0]]), double([v]), labels=torch.tensor([0])) for v in (c, C))
    assert formula == pytest.approx(sampled_spread(lambda s, a, b: autoguided(good.denoiser(s), weak.denoiser(s), w), 0, 1), rel=2e-3)
    pair = GaussianMixture(torch.ones(2), double([[0.0], [0.0]]), double([c, C]), labels=torch.tensor([0, 1]))
    assert formula == pytest.approx(sampled_spread(lambda s, a, b: guided(pair.denoiser(s), w, null=1), 0, 1), rel=2e-3)


@checks("eq-practice-cfg-rescale")
@pytest.mark.parametrize("phi", [0.0, 0.3, 1.0])
def test_rescaling_mixes_the_spreads(phi):
    generator = torch.Generator().manual_seed(1)
    cond, null = 0.3 + torch.randn(2, 4, 3, 5, 5, dtype=torch.float64, generator=generator)
    says = lambda x_t, t, y: Prediction(x_t, SCHEDULE.at(t), "x0", torch.cat([cond, null])[: len(x_t)])
    w, x_t = 2.5, torch.zeros(4, 3, 5, 5, dtype=torch.float64)
    x0 = rescaled(FunctionDenoiser(SCHEDULE, says), w, phi)(x_t, 300, 0).x0
    spread = lambda x: x.flatten(1).var(1).sqrt()
    leaning = cond + w * (cond - null)
    assert torch.allclose(spread(x0), phi * spread(cond) + (1 - phi) * spread(leaning), atol=1e-12)
    factor = phi * spread(cond) / spread(leaning) + 1 - phi
    assert torch.allclose(x0, factor[:, None, None, None] * leaning, atol=1e-12)


@checks("eq-practice-cfg-negative")
@TIMES
def test_a_negative_label_asks_a_classifier_of_two(t):
    x, w = some_points(), 2.0
    joint = lambda x, y: log_p(x, t, y) + WEIGHTS[LABELS == y].sum().log() - log_p(x, t)  # log p_t(y | x)
    right = gradient(lambda x: log_p(x, t, 0) + w * (joint(x, 0) - joint(x, 2)), x)
    assert torch.allclose(guided(EXACT, w, null=2)(x, t, torch.tensor(0)).score, right, atol=1e-9)


@checks("eq-practice-cfg-classifier")
@TIMES
@pytest.mark.parametrize("w", [-1.0, 0.0, 2.0])
def test_a_classifiers_gradient_in_x0(t, w):
    x, a = some_points(), SCHEDULE.alpha_bar[t]
    free = (x + (1 - a) * gradient(lambda x: log_p(x, t), x)) / a.sqrt()  # Tweedie
    right = free + (1 + w) * (1 - a) / a.sqrt() * gradient(lambda x: log_p(x, t, 0) - log_p(x, t), x)
    assert torch.allclose(guided(EXACT, w)(x, t, torch.tensor(0)).x0, right, atol=1e-8)
    logits = lambda x, t: torch.stack([log_p(x, int(t[0]), y) + WEIGHTS[LABELS == y].sum().log() for y in range(3)], 1)
    assert torch.allclose(classifier_guided(EXACT, logits, 1 + w)(x, t, torch.zeros(200).long()).x0, right, atol=1e-8)
