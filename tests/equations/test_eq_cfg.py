"""The numbered equations of section 3.3, each against another route: hand-made densities, quadrature or Monte Carlo."""

import math

import pytest
import torch
from bindings import checks
from plane import EXACT, LABELS, MEANS, PLANE, SCHEDULE, WEIGHTS, diffused, double, gradient, log_p
from torch.distributions import Normal

from diffusion_core import NULL, GaussianMixture, ddim, ddpm, final, guided, q_sample
from diffusion_core.training import drop_labels

TIMES = pytest.mark.parametrize("t", [50, 400, 900])
W = 3.0

# Two classes on a line, at -1 and 1, of variance 1/4: p(y = 1 | x0) is the logistic function of 8 x0.
VARIANCE = 0.25
PAIR = GaussianMixture(torch.ones(2), double([[-1.0], [1.0]]), double([VARIANCE, VARIANCE]), labels=torch.tensor([0, 1]))
PAIR_EXACT = PAIR.denoiser(SCHEDULE)
LINE = torch.linspace(-7, 7, 7001, dtype=torch.float64)


def log_classifier(x, t, label):
    """log p_t(label | x) up to a constant."""
    return diffused(t, LABELS == label).log_prob(x) - log_p(x, t)


def some_points(seed=0):
    return 1.5 * torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def sigma(t):
    return (1 - SCHEDULE.alpha_bar[t]).sqrt()


@checks("eq-cfg-bayes")
@TIMES
@pytest.mark.parametrize("label", [0, 1])
def test_a_conditional_score_is_the_score_plus_a_classifiers_gradient(t, label):
    x = some_points()
    right = PLANE.score(SCHEDULE, x, t) + gradient(lambda x: log_classifier(x, t, label), x)
    assert torch.allclose(PLANE.score(SCHEDULE, x, t, label), right, atol=1e-10)


@checks("eq-cfg-implicit")
@TIMES
def test_the_difference_of_predictions_is_minus_sigma_times_a_classifiers_gradient(t):
    x = some_points()
    difference = EXACT(x, t, 0).eps - EXACT(x, t, None).eps
    assert torch.allclose(difference, -sigma(t) * gradient(lambda x: log_classifier(x, t, 0), x), atol=1e-10)


def test_label_dropout_shows_each_label_with_probability_one_minus_p():
    shown = drop_labels(torch.full((20_000,), 3), 0.1, torch.Generator().manual_seed(0))
    assert set(shown.tolist()) == {3, NULL}
    assert abs((shown == NULL).double().mean() - 0.1) < 5 * math.sqrt(0.09 / 20_000)


@checks("eq-cfg-optimum")
@pytest.mark.parametrize("p", [0.1, 0.5])
def test_what_minimises_the_loss_under_label_dropout(p):
    """Least squares on the rows that fall into a narrow bin, for each of the inputs a network may be shown."""
    t, generator = 400, torch.Generator().manual_seed(1)
    x0, label = PAIR.sample(600_000, generator)
    eps = torch.randn(x0.shape, dtype=torch.float64, generator=generator)
    x = q_sample(SCHEDULE, x0, t, eps)
    shown = drop_labels(label, p, generator)
    for centre in (-0.6, 0.0, 0.5):
        near = (x[:, 0] - centre).abs() < 0.02
        at = double([[centre]])
        responsibility = (PAIR.log_prob(SCHEDULE, at, t, 1) - PAIR.log_prob(SCHEDULE, at, t)).exp() / 2
        mixed = responsibility * PAIR_EXACT(at, t, 1).eps + (1 - responsibility) * PAIR_EXACT(at, t, 0).eps
        for cond, theory in ((1, PAIR_EXACT(at, t, 1).eps), (NULL, mixed)):
            rows = eps[near & (shown == cond)]
            assert abs(rows.mean() - theory) < 5 * rows.std() / len(rows) ** 0.5
        assert torch.allclose(mixed, PAIR_EXACT(at, t, None).eps, atol=1e-12)


@checks("eq-cfg-rule")
@TIMES
@pytest.mark.parametrize("w", [-1.0, 0.0, 0.5, W])
def test_the_guided_prediction_is_a_score_at_each_single_time(t, w):
    x = some_points()
    right = -sigma(t) * gradient(lambda x: log_p(x, t) + (1 + w) * log_classifier(x, t, 0), x)
    assert torch.allclose(guided(EXACT, w)(x, t, torch.tensor(0)).eps, right, atol=1e-9)


@checks("eq-cfg-forms")
@TIMES
def test_the_rule_is_the_same_line_in_x0_and_v(t):
    x, w, a = some_points(), 2.5, SCHEDULE.alpha_bar[t]
    eps_cond, eps_null = (-sigma(t) * PLANE.score(SCHEDULE, x, t, cond) for cond in (0, None))
    eps = (1 + w) * eps_cond - w * eps_null
    x0 = [(x - sigma(t) * e) / a.sqrt() for e in (eps_cond, eps_null, eps)]
    v = [a.sqrt() * e - sigma(t) * clean for e, clean in zip((eps_cond, eps_null, eps), x0, strict=True)]
    prediction = guided(EXACT, w)(x, t, torch.tensor(0))
    for kind, (cond, null, whole) in (("x0", x0), ("v", v)):
        assert torch.allclose((1 + w) * cond - w * null, whole, atol=1e-9)
        assert torch.allclose(getattr(prediction, kind), whole, atol=1e-9)


# The tilted density on the line, and what noise makes of it, by quadrature


def classifier_power(x0, power):
    return torch.sigmoid(2 * x0 / VARIANCE) ** power


def log_tilt(w=W):
    prior = torch.logaddexp(Normal(-1.0, VARIANCE**0.5).log_prob(LINE), Normal(1.0, VARIANCE**0.5).log_prob(LINE))
    return (prior + (1 + w) * torch.nn.functional.logsigmoid(2 * LINE / VARIANCE)).log_softmax(0)


def log_diffused_tilt(x, t):
    """log q_t(x) by convolving the tilt with noise on a fine grid."""
    a = SCHEDULE.alpha_bar[t]
    return torch.logsumexp(log_tilt() + Normal(a.sqrt() * LINE, sigma(t)).log_prob(x[:, None]), 1)


def posterior_average(function, x, t, label=None):
    """E[function(x0, eps) | x_t = x (, label)] by the trapezoidal rule in each part's posterior."""
    a = SCHEDULE.alpha_bar[t]
    spread = a * VARIANCE + 1 - a
    nodes = torch.linspace(-9, 9, 2001, dtype=torch.float64)
    weights = Normal(0.0, 1.0).log_prob(nodes).softmax(0)
    means = [-1.0, 1.0] if label is None else [[-1.0, 1.0][label]]
    shares = torch.stack([Normal(a.sqrt() * mean, spread.sqrt()).log_prob(x) for mean in means]).softmax(0)
    total = 0
    for mean, share in zip(means, shares, strict=True):
        centre = mean + a.sqrt() * VARIANCE / spread * (x - a.sqrt() * mean)
        x0 = centre[:, None] + (VARIANCE * (1 - a) / spread).sqrt() * nodes
        eps = (x[:, None] - a.sqrt() * x0) / sigma(t)
        total = total + share * (function(x0, eps) * weights).sum(1)
    return total


def guided_density(t, w=W):
    """g_t on the line, as masses that sum to 1."""
    x = LINE[:, None]
    return ((1 + w) * PAIR.log_prob(SCHEDULE, x, t, 1) - w * PAIR.log_prob(SCHEDULE, x, t)).softmax(0)


@checks("eq-cfg-mean")
@TIMES
def test_a_diffused_density_keeps_its_mean_up_to_the_root_of_alpha_bar_and_the_guided_one_does_not(t):
    tilt_mean = (log_tilt().exp() * LINE).sum()
    x = LINE[::20]
    q = log_diffused_tilt(x, t).softmax(0)
    assert abs((q * x).sum() - SCHEDULE.alpha_bar[t].sqrt() * tilt_mean) < 1e-6
    assert abs(tilt_mean - 1.0616) < 1e-3
    guided_mean = (guided_density(t) * LINE).sum() / SCHEDULE.alpha_bar[t].sqrt()
    assert {50: 1.06, 400: 1.42, 900: 3.73}[t] == pytest.approx(float(guided_mean), abs=0.01)


@checks("eq-cfg-far")
@pytest.mark.parametrize("w", [0.0, 1.0, 7.0])
def test_at_pure_noise_guidance_extrapolates_means(w):
    share = WEIGHTS / WEIGHTS.sum()
    class_mean = (share[:2, None] * MEANS[:2]).sum(0) / share[:2].sum()
    theory = (1 + w) * class_mean - w * (share[:, None] * MEANS).sum(0)
    x0 = guided(EXACT, w)(some_points(), 1000, torch.tensor(0)).x0
    assert torch.allclose(x0, theory.expand_as(x0), atol=1e-3 * (1 + w))


@checks("eq-cfg-average")
@TIMES
def test_the_diffused_tilt_needs_the_average_of_the_power(t):
    x = torch.linspace(-1.5, 2, 30, dtype=torch.float64)
    log_p_t = PAIR.log_prob(SCHEDULE, x[:, None], t)
    average = posterior_average(lambda x0, eps: classifier_power(x0, 1 + W), x, t)
    ratio = log_diffused_tilt(x, t) - log_p_t - average.log()
    assert ratio.max() - ratio.min() < 1e-9
    classifier = posterior_average(lambda x0, eps: classifier_power(x0, 1.0), x, t)  # what guidance raises to a power
    assert torch.allclose(classifier, (PAIR.log_prob(SCHEDULE, x[:, None], t, 1) - log_p_t).exp() / 2, atol=1e-9)
    wrong = log_diffused_tilt(x, t) - log_p_t - (1 + W) * classifier.log()
    assert wrong.max() - wrong.min() > 0.05


@checks("eq-cfg-weighted")
@TIMES
def test_the_weighted_loss_is_minimised_by_the_diffused_tilts_prediction(t):
    x = torch.linspace(-1.5, 2, 30, dtype=torch.float64)
    weight = posterior_average(lambda x0, eps: classifier_power(x0, W), x, t, label=1)
    minimiser = posterior_average(lambda x0, eps: classifier_power(x0, W) * eps, x, t, label=1) / weight
    assert torch.allclose(minimiser, -sigma(t) * gradient(lambda x: log_diffused_tilt(x, t), x), atol=1e-7)


# What is sampled


def fokker_planck(w, cells=401, steps=100):
    """Mean and standard deviation of the guided reverse SDE, by finite volumes in u = -log alpha_bar, in which beta is 1."""
    x = torch.linspace(-5, 6, cells, dtype=torch.float64)
    h = x[1] - x[0]
    p = Normal(0.0, 1.0).log_prob(x).softmax(0)
    u = torch.cat([double([0.0]), torch.logspace(-5, math.log10(18), steps, dtype=torch.float64)]).flip(0)
    for now, then in zip(u[:-1], u[1:], strict=True):
        a = torch.exp(-(now + then) / 2)
        v = a * VARIANCE + 1 - a
        up, down = -(x - a.sqrt()) / v, -(x + a.sqrt()) / v
        share = torch.sigmoid(2 * a.sqrt() * x / v)
        drift = x / 2 + (1 + w) * up - w * (share * up + (1 - share) * down)
        edge = (drift[1:] + drift[:-1]) / 2
        left, right = edge / 2 + 0.5 / h, edge / 2 - 0.5 / h  # flux = left p_i + right p_{i+1}
        rates = torch.zeros(cells, cells, dtype=torch.float64)
        rates.diagonal()[:-1] -= left / h
        rates.diagonal()[1:] += right / h
        rates.diagonal(1).copy_(-right / h)
        rates.diagonal(-1).copy_(left / h)
        half = (now - then) / 2 * rates
        p = torch.linalg.solve(torch.eye(cells, dtype=torch.float64) - half, p + half @ p)
    mean = (p * x).sum()
    return float(mean), float((p * (x - mean) ** 2).sum().sqrt())


def flow(w, steps=400):
    """The same for the probability flow, by Runge-Kutta in the angle theta, x = cos(theta) x0 + sin(theta) eps."""
    z = torch.linspace(-6, 6, 2001, dtype=torch.float64)
    x, d = z.clone(), (math.pi / 2 - 1e-5) / steps

    def velocity(x, angle):
        alpha, s = math.cos(angle), math.sin(angle)
        v = alpha**2 * VARIANCE + s**2
        gain = alpha * VARIANCE / v
        up, down = 1 + gain * (x - alpha), -1 + gain * (x + alpha)
        share = torch.sigmoid(2 * alpha * x / v)
        x0 = (1 + w) * up - w * (share * up + (1 - share) * down)
        return alpha * (x - alpha * x0) / max(s, 1e-12) - s * x0

    for k in range(steps):
        angle = math.pi / 2 - 1e-6 - k * d
        k1 = velocity(x, angle)
        k2 = velocity(x - d / 2 * k1, angle - d / 2)
        k3 = velocity(x - d / 2 * k2, angle - d / 2)
        x = x - d / 6 * (k1 + 2 * k2 + 2 * k3 + velocity(x - d * k3, angle - d))
    mass = Normal(0.0, 1.0).log_prob(z).softmax(0)
    mean = (mass * x).sum()
    return float(mean), float((mass * (x - mean) ** 2).sum().sqrt())


def test_tilt_ode_and_sde_part():
    """The numbers of the section, each by a route that uses nothing of the core, and the core's samplers beside."""
    tilt = log_tilt().exp()
    mean = (tilt * LINE).sum()
    assert (float(mean), float((tilt * (LINE - mean) ** 2).sum().sqrt())) == pytest.approx((1.06, 0.45), abs=0.005)
    assert flow(W) == pytest.approx((1.68, 0.29), abs=0.005)
    assert fokker_planck(W) == pytest.approx((1.286, 0.429), abs=0.002)

    leaning, cond = guided(PAIR_EXACT, W), torch.tensor(1)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(10_000, 1, dtype=torch.float64, generator=generator)
    ode = final(ddim(leaning, noise, SCHEDULE, steps=100, cond=cond))
    sde = final(ddpm(leaning, noise, SCHEDULE, steps=100, cond=cond, generator=generator))
    assert (float(ode.mean()), float(ode.std())) == pytest.approx((1.68, 0.29), abs=0.015)
    assert (float(sde.mean()), float(sde.std())) == pytest.approx((1.29, 0.41), abs=0.02)


def test_without_guidance_ode_and_sde_agree_with_the_class():
    assert flow(0.0) == pytest.approx((1.0, 0.5), abs=1e-4)
    assert fokker_planck(0.0) == pytest.approx((1.0, 0.5), abs=2e-3)
