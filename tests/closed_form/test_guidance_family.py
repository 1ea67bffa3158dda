"""The relatives of classifier-free guidance, where every prediction is known exactly."""

import pytest
import torch

from diffusion_core import (GaussianMixture, NetworkDenoiser, Prediction, Schedule, adams, autoguided, classifier_guided, ddim, ddpm, distilled,
                            final, guided, interval_guided, rescaled, thresholded)
from diffusion_core.denoisers import FunctionDenoiser

SCHEDULE = Schedule.cosine(1000)
COND = torch.tensor([0, 1, 1, 2, 0])
TIMES = pytest.mark.parametrize("t", [1, 300, 990, torch.tensor([1, 10, 300, 900, 990])], ids=["1", "300", "990", "a row"])


def three_classes():
    means = torch.tensor([[-1.0, 0.2], [1.0, 0.4], [0.3, -1.2]], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.5, 0.3, 0.2]), means, torch.tensor([0.25, 0.1, 0.16]), torch.tensor([0, 1, 2]))


def exact_classifier(gm):
    """Logits log p(x_t, y) of the mixture's classes: what a perfect noise-aware classifier says, up to a constant."""

    def logits(x_t, t):
        y = [torch.full((len(x_t),), k) for k in range(3)]
        return torch.stack([gm.log_prob(SCHEDULE, x_t, t, k) for k in y], 1) + gm.log_weights

    return logits


def x_t():
    return torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


class Counting:
    """A denoiser that keeps what it was asked."""

    def __init__(self, denoiser):
        self.denoiser, self.schedule, self.asked = denoiser, denoiser.schedule, []

    def __call__(self, x, t, cond=None):
        self.asked.append((int(torch.as_tensor(t).max()), len(x), cond))
        return self.denoiser(x, t, cond)


@TIMES
def test_an_exact_classifier_with_w_1_is_bayes_rule(t):
    """score(x) + grad log p(y | x) = score(x | y): the guided unconditional model is the conditional one."""
    gm = three_classes()
    ours = classifier_guided(gm.denoiser(SCHEDULE), exact_classifier(gm), 1.0)(x_t(), t, COND)
    assert torch.allclose(ours.x0, gm.posterior_mean(SCHEDULE, x_t(), t, COND), rtol=0, atol=1e-9)
    assert torch.allclose(ours.score, gm.score(SCHEDULE, x_t(), t, COND), rtol=1e-9, atol=1e-9)


@TIMES
@pytest.mark.parametrize("w", [-1.0, 0.0, 0.7, 4.0])
def test_classifier_guidance_with_1_plus_w_is_classifier_free_guidance(t, w):
    """(1 + w) score(x | y) - w score(x) = score(x) + (1 + w) grad log p(y | x)."""
    gm = three_classes()
    free = guided(gm.denoiser(SCHEDULE), w)(x_t(), t, COND)
    ours = classifier_guided(gm.denoiser(SCHEDULE), exact_classifier(gm), 1 + w)(x_t(), t, COND)
    assert torch.allclose(ours.x0, free.x0, rtol=0, atol=1e-8)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_classifier_guidance_finds_its_gradient_inside_samplers(context):
    gm = three_classes()
    denoiser = classifier_guided(gm.denoiser(SCHEDULE), exact_classifier(gm), 2.0)
    plain = final(ddim(denoiser, x_t(), SCHEDULE, steps=6, cond=COND))
    with context():
        inside = final(ddim(denoiser, x_t(), SCHEDULE, steps=6, cond=COND.clone()))
    assert torch.equal(plain, inside)
    assert torch.allclose(plain, final(ddim(guided(gm.denoiser(SCHEDULE), 1.0), x_t(), SCHEDULE, steps=6, cond=COND)), atol=1e-8)


@pytest.mark.parametrize(("low", "high", "guided_steps"), [(1, 1000, 10), (201, 600, 4), (5, 4, 0), (1000, 1000, 1)])
def test_interval_counts_unconditional_calls(low, high, guided_steps):
    """Ten steps at t = 1000, 900, .., 100: twice the rows inside the interval, the rows themselves outside."""
    denoiser = Counting(three_classes().denoiser(SCHEDULE))
    final(ddim(interval_guided(denoiser, 2.0, low, high), x_t(), SCHEDULE, steps=10, cond=COND))
    assert [rows for t, rows, _ in denoiser.asked] == [10 if low <= t <= high else 5 for t in range(1000, 0, -100)]
    assert sum(rows == 10 for _, rows, _ in denoiser.asked) == guided_steps


def test_interval_full_is_guidance_and_empty_is_conditional():
    denoiser = three_classes().denoiser(SCHEDULE)
    for low, high, same in ((1, 1000, guided(denoiser, 2.0)), (2, 1, denoiser)):
        ours = final(ddim(interval_guided(denoiser, 2.0, low, high), x_t(), SCHEDULE, steps=10, cond=COND))
        assert torch.equal(ours, final(ddim(same, x_t(), SCHEDULE, steps=10, cond=COND)))


def test_interval_looks_at_each_row():
    denoiser, t = three_classes().denoiser(SCHEDULE), torch.tensor([100, 300, 301, 299, 900])
    ours = interval_guided(denoiser, 2.0, 300, 301)(x_t(), t, COND).x0
    inside, outside = guided(denoiser, 2.0)(x_t(), t, COND).x0, denoiser(x_t(), t, COND).x0
    expected = torch.where(torch.tensor([False, True, True, False, False])[:, None], inside, outside)
    assert torch.allclose(ours, expected, atol=1e-14) and not torch.allclose(inside, outside, atol=1e-3)


@pytest.mark.parametrize("w", [0.0, 3.0])
def test_rescaling(w):
    """phi = 0 is guidance, phi = 1 gives each row the conditional spread, and between them it is linear in phi."""
    denoiser = three_classes().denoiser(SCHEDULE)
    plain, leaning = denoiser(x_t(), 500, COND).x0, guided(denoiser, w)(x_t(), 500, COND).x0
    at = {phi: rescaled(denoiser, w, phi)(x_t(), 500, COND).x0 for phi in (0.0, 0.3, 1.0)}
    assert torch.allclose(at[0.0], leaning, atol=1e-14)
    assert torch.allclose(at[1.0].std(1), plain.std(1), atol=1e-12)
    assert torch.allclose(at[0.3], 0.7 * at[0.0] + 0.3 * at[1.0], atol=1e-12)
    assert torch.allclose(at[1.0] * leaning.std(1, keepdim=True), leaning * plain.std(1, keepdim=True), atol=1e-12)  # one factor a row


@TIMES
def test_autoguidance_away_from_the_unconditional_model_is_guidance(t):
    denoiser = three_classes().denoiser(SCHEDULE)
    blind = FunctionDenoiser(SCHEDULE, lambda x, t, cond: denoiser(x, t, None))
    assert torch.allclose(autoguided(denoiser, blind, 1.5)(x_t(), t, COND).x0, guided(denoiser, 1.5)(x_t(), t, COND).x0, atol=1e-12)
    assert torch.allclose(autoguided(denoiser, denoiser, 1.5)(x_t(), t, COND).x0, denoiser(x_t(), t, COND).x0, atol=1e-12)


def test_autoguidance_narrows_a_gaussian_by_the_closed_form():
    """Data N(0, c), a weaker model that believes in N(0, c'): the guided score is linear, -x ((1 + w) / var - w / var')."""
    w, c, wider, t = 0.8, 0.25, 0.5, 400
    zero, a = torch.zeros(1, 2, dtype=torch.float64), float(SCHEDULE.alpha_bar[t])
    good, weak = (GaussianMixture(torch.ones(1), zero, torch.tensor([v])).denoiser(SCHEDULE) for v in (c, wider))
    ours = autoguided(good, weak, w)(x_t(), t).score
    expected = -x_t() * ((1 + w) / (a * c + 1 - a) - w / (a * wider + 1 - a))
    assert torch.allclose(ours, expected, atol=1e-12)
    ends = [final(ddim(d, 2 * x_t(), SCHEDULE, steps=100)).std() for d in (good, autoguided(good, weak, w))]
    assert ends[1] < 0.9 * ends[0]


def test_the_negative_condition_pushes_away_from_its_class():
    """Guided by class 1 against class 2, samples lie farther from class 2 than those guided against no class in particular."""
    gm = three_classes()
    x = torch.randn(400, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    at = [final(adams(guided(gm.denoiser(SCHEDULE), 1.0, null), x, SCHEDULE, steps=20, cond=1)) for null in (None, 2)]
    away = (gm.means[1] - gm.means[2]) / (gm.means[1] - gm.means[2]).norm()
    assert (at[1] @ away).mean() > (at[0] @ away).mean() + 0.1
    rows = guided(gm.denoiser(SCHEDULE), 1.0, null=torch.tensor([2, 2, 0, 1, 1]))(x_t(), 400, COND).x0
    alone = guided(gm.denoiser(SCHEDULE), 1.0, null=0)(x_t()[2:3], 400, COND[2:3]).x0
    assert torch.allclose(rows[2:3], alone, atol=1e-12)


def test_a_weight_a_row():
    denoiser, w = three_classes().denoiser(SCHEDULE), torch.tensor([0.0, 1.0, 2.5, -1.0, 7.0])
    ours = guided(denoiser, w)(x_t(), 400, COND).x0
    alone = torch.cat([guided(denoiser, float(w[k]))(x_t()[k : k + 1], 400, COND[k : k + 1]).x0 for k in range(5)])
    assert torch.allclose(ours, alone, rtol=0, atol=1e-6)


def picture_denoiser(x0):
    return FunctionDenoiser(SCHEDULE, lambda x_t, t, cond: Prediction(x_t, SCHEDULE.at(t), "x0", x0))


def test_dynamic_thresholding():
    """A picture inside [-1, 1] stays; one that leaves it is cut at its own quantile and drawn together (Saharia et al. 2022)."""
    inside = torch.linspace(-1, 1, 200, dtype=torch.float64).reshape(1, 2, 10, 10)
    outside = 3 * inside
    x0 = thresholded(picture_denoiser(torch.cat([inside, outside])), 0.9)(torch.zeros(2, 2, 10, 10, dtype=torch.float64), 500).x0
    assert torch.equal(x0[:1], inside)
    bound = outside.abs().flatten().quantile(0.9)
    assert x0[1].max() == 1 and x0[1].min() == -1
    assert torch.allclose(x0[1:], outside.clamp(-bound, bound) / bound, atol=1e-14)
    assert ((x0[1].abs() == 1).double().mean() - 0.1).abs() < 0.02


def test_distilled_hands_w_to_the_network():
    asked = []

    def net(x, t, cond, w):
        asked.append(w.tolist())
        return x * w[:, None]

    denoiser = NetworkDenoiser(net, SCHEDULE, "x0", clip=1.5)
    assert torch.equal(distilled(denoiser, 0.5)(x_t(), 3, COND).x0, (0.5 * x_t()).clamp(-1.5, 1.5))
    weights = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    distilled(denoiser, weights)(x_t(), 3)
    assert asked == [[0.5] * 5, weights.tolist()]


def test_learned_variance_goes_through_guidance():
    """The conditional half says how much noise a step adds; ddpm takes it."""

    def net(x, t, cond):
        return torch.cat([0.1 * x, torch.full_like(x, 0.5) * (cond[:, None, None, None] + 1).clamp(max=1)], 1)

    denoiser = NetworkDenoiser(net, SCHEDULE, "eps")
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    for leaning in (guided(denoiser, 1.0), interval_guided(denoiser, 1.0, 1, 500), rescaled(denoiser, 1.0), thresholded(guided(denoiser, 2.0))):
        assert torch.equal(leaning(x, 400, 0).fraction, torch.full_like(x, 0.75))
    generator = torch.Generator().manual_seed(0)
    assert final(ddpm(guided(denoiser, 1.0), x, SCHEDULE, steps=3, variance="learned", cond=0, generator=generator)).isfinite().all()


@pytest.mark.parametrize("make", [
    lambda d: guided(d, float("nan")), lambda d: interval_guided(d, float("inf"), 1, 2), lambda d: rescaled(d, float("nan")),
    lambda d: rescaled(d, 1.0, 1.5), lambda d: autoguided(d, d, float("inf")), lambda d: classifier_guided(d, None, float("nan")),
    lambda d: thresholded(d, 0.0), lambda d: distilled(d, float("nan")), lambda d: guided(d, torch.tensor([1.0, float("nan")])),
    lambda d: autoguided(d, three_classes().denoiser(Schedule.linear(1000)), 1.0)])
def test_bad_settings_are_refused_when_made(make):
    with pytest.raises(ValueError, match="must"):
        make(three_classes().denoiser(SCHEDULE))


@pytest.mark.parametrize("make", [lambda d: guided(d, 1.0), lambda d: interval_guided(d, 1.0, 1, 1000), lambda d: interval_guided(d, 1.0, 2, 1),
                                  lambda d: rescaled(d, 1.0), lambda d: classifier_guided(d, exact_classifier(three_classes()), 1.0)])
def test_a_missing_condition_is_named(make):
    with pytest.raises(ValueError, match="guidance needs a condition"):
        make(three_classes().denoiser(SCHEDULE))(x_t(), 500)
