"""The likelihood bound and the probability flow's likelihood, against entropies and densities known in closed form."""

import itertools
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core import GaussianMixture, Prediction, Schedule, clipped, q_posterior, q_sample, vlb_terms, zero_terminal_snr, zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.gaussian import posterior_variance, reverse_step
from diffusion_core.likelihood import bits_per_dim, flow_log_prob, vlb_prior, vlb_term

ENTROPY = 0.5 * math.log(2 * math.pi * math.e * 0.25)  # of N(0, .25), nats
GAUSSIAN = GaussianMixture(torch.ones(1), torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0.25]))
# x0 and noise that together take +-1 standard deviation once each: exact means of everything quadratic in both.
X0 = 0.5 * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64)
EPS = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def marginal_variance(schedule, t):
    """Of x_t for x0 ~ N(0, .25)."""
    return 1 - 0.75 * schedule.at(t)


def optimal_variance(schedule):
    """(t, s) -> the variance of x_s given x_t for x0 ~ N(0, .25): with it the reverse step is exact."""

    def variance(t, s):
        now, then = marginal_variance(schedule, t), marginal_variance(schedule, s)
        return then - schedule.at(t) / schedule.at(s) * then**2 / now

    return variance


def bound_minus_entropy(schedule, variance):
    """The exact mean of the bound on N(0, .25) with the exact denoiser, all times in one batch, minus the entropy."""
    T = len(schedule)
    t = torch.arange(1, T + 1).repeat_interleave(4)
    x0, eps = X0.repeat(T, 1), EPS.repeat(T, 1)
    x_t = q_sample(schedule, x0, t, eps)
    a = schedule.alpha_bar[t][:, None]
    prediction = Prediction(x_t, schedule.at(t), "x0", 0.25 * a.sqrt() / (1 - 0.75 * a) * x_t)
    terms = vlb_term(prediction, schedule, x0, t, variance=variance, bins=None)
    return (vlb_prior(schedule, X0).mean() + terms.sum() / 4).item() - ENTROPY


def gap_by_divergences(schedule, variance):
    """The same gap as KL of the true reverse chain from the model's: Gaussians of equal means, step by step, and the prior's mismatch."""
    t = torch.arange(1, len(schedule) + 1)
    true = optimal_variance(schedule)(t, t - 1)
    beta, tilde = schedule.betas[1:], posterior_variance(schedule, t, t - 1)
    tilde[0] = tilde[1]
    ratio = true / (beta if variance == "large" else tilde)
    last = marginal_variance(schedule, len(schedule))
    return (0.5 * (ratio - 1 - ratio.log()).sum() + 0.5 * (last - 1 - last.log())).item()


def test_bits_per_dim():
    """One nat a dimension is 1 / log 2 bits, whatever the shape of the picture."""
    assert bits_per_dim(double(12.0, 6.0), torch.zeros(2, 3, 2, 2)).tolist() == pytest.approx([1.442695041, 0.7213475204])
    assert bits_per_dim(double([12.0, 6.0]), torch.zeros(1, 12)).shape == (1, 2)
    for nats, x0 in ((double(1.0), torch.zeros(2, 3)), (torch.tensor(1.0), torch.zeros(1, 3)), (double(1.0), torch.zeros(1, 0))):
        with pytest.raises(ValueError, match="expected nats"):
            bits_per_dim(nats, x0)


@pytest.mark.parametrize("T", [2, 10, 1000])
@pytest.mark.parametrize("make", [Schedule.linear, Schedule.cosine])
def test_the_bound_meets_the_entropy(make, T):
    """With the optimal variance and a prior that matches (zero terminal SNR: x_T is pure noise) the bound is the entropy, for any T."""
    schedule = zero_terminal_snr(make(T))
    assert bound_minus_entropy(schedule, optimal_variance(schedule)) == pytest.approx(0, abs=1e-10)


def test_what_the_optimal_bound_misses_is_the_prior():
    """Ten linear steps leave signal at T: the gap is KL(q(x_T) || N(0, 1)) and nothing else."""
    schedule = Schedule.linear(10, 1e-4, 0.2)
    last = marginal_variance(schedule, 10)
    expected = kl_divergence(Normal(double(0.0), last.sqrt()), Normal(double(0.0), double(1.0))).item()
    assert expected > 0.01
    assert bound_minus_entropy(schedule, optimal_variance(schedule)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("variance", "gap", "tolerance"), [("small", 0.570, 5e-4), ("large", 0.0011, 5e-5)])
def test_gap_of_the_bound(monkeypatch, variance, gap, tolerance):
    """N(0, .25), linear T = 1000, exact denoiser: the bound exceeds the entropy by .570 (fixed-small) or .0011 (fixed-large) nats."""
    schedule = Schedule.linear(1000)
    monkeypatch.setattr(torch, "randn", lambda shape, **options: EPS)
    prior, kl, decoder = vlb_terms(GAUSSIAN.denoiser(schedule), schedule, X0, variance=variance, bins=None)
    assert prior.shape == (4,) and kl.shape == (4, 999) and decoder.shape == (4,)
    found = (prior + kl.sum(1) + decoder).mean().item() - ENTROPY
    assert found == pytest.approx(gap, abs=tolerance)
    assert found == pytest.approx(gap_by_divergences(schedule, variance), abs=1e-10)
    assert found == pytest.approx(bound_minus_entropy(schedule, variance), abs=1e-10)


def test_gaps_as_steps_grow():
    """Up to T = 10^5, where the gap of the small variance has levelled off at .445; that of the large one goes as 1/T."""
    lengths = (1000, 10_000, 100_000)
    small, large = ([bound_minus_entropy(Schedule.linear(T), variance) for T in lengths] for variance in ("small", "large"))
    assert small == pytest.approx([gap_by_divergences(Schedule.linear(T), "small") for T in lengths], abs=1e-9)
    assert [small[0], small[2]] == pytest.approx([0.570, 0.445], abs=5e-4)
    assert small[1] - small[2] < 0.02 < 0.1 < small[0] - small[1]
    assert large[0] == pytest.approx(0.0011, abs=5e-5)
    assert [large[0] / large[1], large[1] / large[2]] == pytest.approx([10, 10], rel=0.05)


def test_why_large_keeps_beta_1():
    """Published code puts beta-tilde_2 in place of beta_1 at t = 1; on N(0, .25) that alone costs .114 nats."""
    schedule = Schedule.linear(1000)
    published = bound_minus_entropy(schedule, lambda t, s: torch.where(t == 1, posterior_variance(schedule, 2, 1), schedule.betas[t]))
    assert published == pytest.approx(0.1147, abs=1e-4)
    assert bound_minus_entropy(schedule, "large") == pytest.approx(0.00109, abs=1e-5)


def test_terms_of_the_bound_one_by_one(monkeypatch):
    """Prior, one KL and decoder against torch's divergences and density, with a denoiser that is wrong in a known way."""
    monkeypatch.setattr(torch, "randn", lambda shape, **options: EPS)
    schedule = Schedule.linear(10)
    wrong = FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", 0 * x_t + 0.1))
    prior, kl, decoder = vlb_terms(wrong, schedule, X0, variance="large", bins=None)
    a = schedule.alpha_bar[10]
    assert torch.allclose(prior, kl_divergence(Normal(a.sqrt() * X0, (1 - a).sqrt()), Normal(0 * X0, 1.0)).flatten())
    for t in (2, 7, 10):
        x_t = q_sample(schedule, X0, t, EPS)
        (true, small), (mean, _) = q_posterior(schedule, X0, x_t, t, t - 1), q_posterior(schedule, 0 * X0 + 0.1, x_t, t, t - 1)
        expected = kl_divergence(Normal(true, small.sqrt()), Normal(mean, schedule.betas[t].sqrt()))
        assert torch.allclose(kl[:, t - 2], expected.flatten(), atol=1e-12)
    for variance, first in (("large", schedule.betas[1]), ("small", posterior_variance(schedule, 2, 1))):
        decoder = vlb_terms(wrong, schedule, X0, variance=variance, bins=None)[2]
        peak = Normal(torch.tensor(0.1, dtype=torch.float64), first.sqrt())
        assert torch.allclose(decoder, -peak.log_prob(X0).flatten(), atol=1e-12)


def test_learned_variance_in_the_bound():
    """A fraction that differs from pixel to pixel: the KL of each pixel's own Gaussian; 0 and 1 everywhere give the fixed variances."""
    schedule = Schedule.cosine(40)
    x0, noise = double([[0.3, -0.2]]), double([[1.0, -0.5]])
    fraction = double([[0.2, 0.9]])

    def predict(t, said):
        x_t = q_sample(schedule, x0[0], t, noise[0])
        return Prediction(x_t, schedule.at(t), "x0", 0.5 * x_t, said[0])

    for t in (2, 17, 40):
        prediction = predict(t, fraction)
        beta, tilde = schedule.betas[t], posterior_variance(schedule, t, t - 1)
        (true, _), (mean, _) = (q_posterior(schedule, guess, prediction.x_t, t, t - 1) for guess in (x0[0], prediction.x0))
        own = kl_divergence(Normal(true, tilde.sqrt()), Normal(mean, (beta**fraction[0] * tilde ** (1 - fraction[0])).sqrt()))
        assert vlb_term(prediction, schedule, x0[0], t, variance="learned").item() == pytest.approx(own.sum().item(), abs=1e-12)
    for t, (level, fixed) in itertools.product((1, 2, 40), ((0.0, "small"), (1.0, "large"))):
        prediction = predict(t, 0 * fraction + level)
        learned, same = (vlb_term(prediction, schedule, x0[0], t, variance=v).item() for v in ("learned", fixed))
        assert learned == pytest.approx(same, abs=1e-12)


@pytest.mark.parametrize("bins", [None, 256])
def test_the_bound_can_be_trained_on(bins):
    """Times of several rows, t = 1 among them: each row is its own term, and the gradient of all with regard to the variance is finite."""
    schedule, t = Schedule.cosine(1000), torch.tensor([1, 2, 500, 1000])
    x0 = torch.linspace(-1, 1, 12).reshape(4, 1, 3, 1)
    x_t = q_sample(schedule, x0, t, torch.linspace(-2, 2, 12).reshape(4, 1, 3, 1))
    fraction = torch.full_like(x0, 0.5).requires_grad_()
    terms = vlb_term(Prediction(x_t, schedule.at(t), "x0", x0 * 0.99, fraction), schedule, x0, t, variance="learned", bins=bins)
    for k in range(4):
        one = Prediction(x_t[k : k + 1], schedule.at(int(t[k])), "x0", x0[k : k + 1] * 0.99, fraction[k : k + 1])
        alone = vlb_term(one, schedule, x0[k : k + 1], int(t[k]), variance="learned", bins=bins)
        assert torch.allclose(terms[k], alone[0], rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(terms.sum(), fraction)
    assert bool(gradient.isfinite().all()) and bool((gradient.flatten(1).abs().sum(1) > 0).all())


def test_every_pixel_counts():
    """Nats an image: the terms of a batch of two pixels are the sums of those of each pixel (same noise, independent parts)."""
    schedule = Schedule.linear(5)
    x0 = torch.tensor([[0.3, -0.7]], dtype=torch.float64)
    plain = FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", 0 * x_t))
    prior, _, decoder = vlb_terms(plain, schedule, x0, generator=torch.Generator().manual_seed(0))
    parts = [vlb_terms(plain, schedule, x0[:, i : i + 1], generator=torch.Generator().manual_seed(0)) for i in (0, 1)]
    assert prior.item() == pytest.approx(sum(p[0].item() for p in parts), abs=1e-12)
    assert decoder.item() == pytest.approx(sum(p[2].item() for p in parts), abs=1e-9)


@pytest.mark.parametrize("levels", [2, 16, 256])
def test_the_decoder_is_a_distribution_over_grey_levels(levels):
    """The probabilities of all levels sum to 1, the outermost reaching to infinity (equation 13 of Ho et al. 2020)."""
    schedule = Schedule.linear(1000, 0.01, 0.02)
    short = Schedule(schedule.alpha_bar[:3])
    x0 = torch.linspace(-1, 1, levels, dtype=torch.float64)[:, None]
    for mean in (-1.2, -0.43, 0.9):
        constant = FunctionDenoiser(short, lambda x_t, t, cond, mean=mean: Prediction(x_t, short.at(t), "x0", 0 * x_t + mean))
        _, _, decoder = vlb_terms(constant, short, x0, bins=levels)
        p = torch.exp(-decoder)
        # Each level far from the mean is clamped to 1e-12, which is all the sum may exceed 1 by.
        assert p.sum().item() == pytest.approx(1, abs=levels * 2e-12)
        if mean == -0.43:  # far enough from the ends
            assert p.argmax() == (x0[:, 0] - mean).abs().argmin()


@pytest.mark.parametrize("side", [-1, 1])
def test_the_decoder_keeps_its_tails_in_float32(side):
    """Levels up to 7 standard deviations away, probabilities down to 3e-12: to a thousandth of a nat, on either side of the mean."""
    schedule = Schedule(Schedule.linear(1000, 1e-4, 0.02).alpha_bar[:3])
    levels = side * torch.arange(0, 8)[:, None] * 2 / 255

    def decoder(dtype):
        x0 = levels.to(dtype)
        return vlb_term(Prediction(x0, schedule.at(1), "x0", 0 * x0), schedule, x0, 1)

    exact = decoder(torch.float64)
    assert 26 < exact.max() < 27.6  # deep in the tail, and not yet where the decoder stops at 1e-12
    assert torch.allclose(decoder(torch.float32).double(), exact, atol=1e-3)


def test_limits_of_the_bound():
    schedule = Schedule.linear(10)
    exact = GAUSSIAN.denoiser(schedule)
    for match, call in (
        ("T of at least 2, got T = 1", lambda: vlb_terms(exact, Schedule.linear(1), X0)),
        ("of which this denoiser says nothing", lambda: vlb_terms(exact, schedule, X0, variance="learned")),
        ("bins must be None or at least 2, got 1", lambda: vlb_terms(exact, schedule, X0, bins=1)),
        (r"t must lie in 1 .. 10, got 0", lambda: vlb_term(exact(X0, 1), schedule, X0, 0)),
    ):
        with pytest.raises(ValueError, match=match):
            call()


# ---- the probability flow

MIXTURE = GaussianMixture(double(0.3, 0.7), double([-1.0, 0.5], [1.0, -0.3]),
                          double([[0.25, 0.1], [0.1, 0.2]], [[0.1, 0.0], [0.0, 0.3]]), labels=torch.tensor([0, 1]))


def points(n=12):
    return MIXTURE.sample(n, torch.Generator().manual_seed(0))[0]


def error(schedule, x=None, t=0, **options):
    x = points() if x is None else x
    return (flow_log_prob(MIXTURE.denoiser(schedule), schedule, x, t=t, **options) - MIXTURE.log_prob(schedule, x, t)).abs().max().item()


@pytest.mark.parametrize(("make", "t", "steps", "tolerance"), [(Schedule.linear, 0, 500, 1e-6), (Schedule.linear, 1, 200, 5e-7),
                                                               (Schedule.cosine, 0, 500, 2e-7), (Schedule.cosine, 1, 200, 5e-8)])
def test_the_flow_has_the_density_of_the_mixture(make, t, steps, tolerance):
    """T = 1000 with zero terminal SNR, so that N(0, I) is the exact law of x_T: to 1e-6 nats, of data (t = 0) and of x_1."""
    assert error(zero_terminal_snr(make(1000)), t=t, steps=steps) < tolerance


def test_the_flow_of_a_class():
    schedule, x = zero_terminal_snr(Schedule.cosine(200)), points(4)
    found = flow_log_prob(MIXTURE.denoiser(schedule), schedule, x, cond=torch.tensor([0, 1, 1, 0]))
    exact = torch.cat([MIXTURE.log_prob(schedule, x[k : k + 1], 0, torch.tensor([c])) for k, c in enumerate((0, 1, 1, 0))])
    assert torch.allclose(found, exact, atol=1e-4)
    assert (found - MIXTURE.log_prob(schedule, x, 0)).abs().max() > 0.1


@pytest.mark.parametrize("make", [Schedule.linear, Schedule.cosine])
def test_order_of_the_flow(make):
    """Twice the steps, a sixteenth of the error: fourth order, though the times are spaced unevenly."""
    schedule = zero_terminal_snr(make(1000))
    errors = [error(schedule, t=200, steps=n) for n in (25, 50, 100, 200)]
    orders = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert orders[-1] == pytest.approx(4, abs=0.3) and min(orders) > 3


def test_what_a_prior_that_does_not_match_costs():
    """The linear schedule ends with alpha = .0063: taking N(0, I) for the law of x_T shows in the third digit, as the docstring says."""
    schedule, matched = Schedule.linear(1000), zero_terminal_snr(Schedule.linear(1000))
    assert 1e-3 < error(schedule, steps=100) < 1e-2
    assert 1e-6 < error(Schedule.cosine(1000), steps=100) < 1e-4
    assert error(matched, steps=100) < 1e-5


def test_hutchinson_is_exact_on_average():
    """In two dimensions e^T J e takes two values, for signs alike and unlike: their mean is the exact result, to the last digits."""
    schedule, x = zero_terminal_snr(Schedule.cosine(40)), points(5)
    denoiser = MIXTURE.denoiser(schedule)
    exact = flow_log_prob(denoiser, schedule, x)
    seeded = [torch.Generator().manual_seed(k) for k in range(12)]
    draws = torch.stack([flow_log_prob(denoiser, schedule, x, probes=1, generator=g) for g in seeded])
    low, high = draws.amin(0), draws.amax(0)
    assert bool(((draws - low).abs().minimum((draws - high).abs()) < 1e-10).all())
    assert torch.allclose((low + high) / 2, exact, atol=1e-10) and (high - low).min() > 1e-3
    several = flow_log_prob(denoiser, schedule, x, probes=12, generator=torch.Generator().manual_seed(0))
    share = (several - low) / (high - low) * 12  # a mean of 12 of the two values
    assert torch.allclose(share, share.round(), atol=1e-6)
    assert bool(((share > 0.5) & (share < 11.5)).all())  # not 12 times the same


def test_the_flow_of_the_shipped_network():
    """Float32, one random vector, few steps: a picture is likelier than the same pixels shuffled, by over 1000 nats; the draw repeats."""
    _, denoiser, _ = zoo.load("fashion")
    pictures, labels = (a[:2] for a in fashion_mnist("test"))
    x, cond = to_pictures(pictures), torch.as_tensor(labels).long()
    shuffled = x.flatten()[torch.randperm(x.numel(), generator=torch.Generator().manual_seed(0))].reshape(x.shape)

    def log_p(x):
        return flow_log_prob(denoiser, denoiser.schedule, x, t=1, steps=6, probes=1, cond=cond, generator=torch.Generator().manual_seed(1))

    found = log_p(x)
    assert found.shape == (2,) and found.dtype == torch.float32 and not found.requires_grad
    assert torch.equal(found, log_p(x)) and bool((found > log_p(shuffled) + 1000).all())


def test_the_flow_leaves_no_trace():
    """It works inside inference mode, and neither asks for gradients of its input nor keeps any."""
    schedule, x = zero_terminal_snr(Schedule.cosine(10)), points(3)
    outside = flow_log_prob(MIXTURE.denoiser(schedule), schedule, x)
    with torch.inference_mode():
        inside = flow_log_prob(MIXTURE.denoiser(schedule), schedule, x)
    assert torch.equal(outside, inside) and not x.requires_grad and not outside.requires_grad


@pytest.mark.parametrize(("message", "options"), [
    (r"t must be an int in 0 .. 8, above 0 unless alpha_bar\[0\] = 1, got 9", {"t": 9}),
    ("t must be an int in 0 .. 8.*got -1", {"t": -1}),
    ("t must be an int in 0 .. 8.*got 1.5", {"t": 1.5}),
    ("steps must be an int in 1 .. 5, since each takes two intervals of time, got 6", {"steps": 6}),
    ("steps must be an int in 1 .. 4.*got 0", {"steps": 0, "t": 1}),
    ("probes must be None or an int of at least 1, got 0", {"probes": 0}),
])
def test_limits_of_the_flow(message, options):
    with pytest.raises(ValueError, match=message):
        error(Schedule.linear(10), **options)


def test_the_flow_needs_a_clean_end():
    """alpha_bar[0] < 1: no denoiser can be asked at t = 0, and v is not 0 there."""
    noisy = Schedule.from_betas(torch.full((10,), 0.1), final_alpha_bar=0.99)
    with pytest.raises(ValueError, match="above 0 unless"):
        error(noisy)
    assert math.isfinite(error(noisy, t=1))
