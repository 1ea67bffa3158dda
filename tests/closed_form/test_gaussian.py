"""The forward process's posterior and the reverse step, in closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from diffusion_core import GaussianMixture, Prediction, Schedule, ddpm, q_posterior, q_sample
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.gaussian import gaussian_kl, posterior_variance, reverse_step


@st.composite
def schedule_and_times(draw):
    """A schedule and three times r < s < t."""
    T = draw(st.integers(2, 1200))
    schedule = draw(st.sampled_from([Schedule.linear, Schedule.cosine]))(T)
    return schedule, *sorted(draw(st.lists(st.integers(0, T), min_size=3, max_size=3, unique=True)))


def posterior(schedule, t, s):
    """(a, b, variance) of q(x_s | x_t, x0) = N(a x0 + b x_t, variance), by the package."""
    unit, zero = (torch.tensor([[v]], dtype=torch.float64) for v in (1.0, 0.0))
    (a, variance), (b, _) = q_posterior(schedule, unit, zero, t, s), q_posterior(schedule, zero, unit, t, s)
    return a.item(), b.item(), variance.item()


@given(schedule_and_times())
def test_posterior_marginalises(case):
    """Averaged over q(x_t | x0), q(x_s | x_t, x0) is q(x_s | x0)."""
    schedule, _, s, t = case
    a, b, variance = posterior(schedule, t, s)
    now, then = schedule.alpha_bar[t].item(), schedule.alpha_bar[s].item()
    assert a + b * math.sqrt(now) == pytest.approx(math.sqrt(then), abs=1e-12)
    assert b**2 * (1 - now) + variance == pytest.approx(1 - then, abs=1e-12)


@given(schedule_and_times())
def test_posterior_composes(case):
    """Through s to r is the same as straight to r."""
    schedule, r, s, t = case
    (a1, b1, v1), (a2, b2, v2), (a, b, v) = (posterior(schedule, *p) for p in ((t, s), (s, r), (t, r)))
    assert [a2 + b2 * a1, b2 * b1, b2**2 * v1 + v2] == pytest.approx([a, b, v], abs=1e-10)


@pytest.mark.parametrize(("t", "s"), [(2, 1), (300, 299), (300, 100), (900, 10)])
def test_posterior_is_bayes_rule(t, s):
    """q(x_s | x_t, x0) is proportional to q(x_t | x_s) q(x_s | x0): moments by quadrature."""
    schedule, x0, x_t = Schedule.linear(1000), 0.4, -0.3
    now, then = schedule.alpha_bar[t], schedule.alpha_bar[s]
    keep = now / then
    mean, variance = q_posterior(schedule, *(torch.full((1, 1), v, dtype=torch.float64) for v in (x0, x_t)), t, s)
    grid = mean.item() + torch.linspace(-12, 12, 20_001, dtype=torch.float64) * variance.sqrt().item()
    log_density = (Normal(keep.sqrt() * grid, (1 - keep).sqrt()).log_prob(torch.tensor(x_t, dtype=torch.float64))
                   + Normal(then.sqrt() * x0, (1 - then).sqrt()).log_prob(grid))
    density = torch.exp(log_density - log_density.max())
    density /= torch.trapezoid(density, grid)
    first = torch.trapezoid(grid * density, grid)
    second = torch.trapezoid((grid - first) ** 2 * density, grid)
    assert mean.item() == pytest.approx(first.item(), abs=1e-9)
    assert variance.item() == pytest.approx(second.item(), rel=1e-7)


def test_times_a_row_are_those_times():
    schedule = Schedule.cosine(50)
    x0, x_t = (torch.randn(3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    t, s = torch.tensor([50, 20, 2]), torch.tensor([10, 0, 1])
    mean, variance = q_posterior(schedule, x0, x_t, t, s)
    noised = q_sample(schedule, x0, t, x_t)
    assert variance.shape == (3, 1, 1)
    for i in range(3):
        row = slice(i, i + 1)
        m, v = q_posterior(schedule, x0[row], x_t[row], int(t[i]), int(s[i]))
        assert torch.equal(mean[row], m) and torch.equal(variance[i].squeeze(), v)
        assert torch.equal(noised[row], q_sample(schedule, x0[row], int(t[i]), x_t[row]))


def test_kl_is_that_of_torch():
    a, b = (torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64), torch.tensor([0.5, 2.0, 1.0], dtype=torch.float64))
    c, d = (torch.tensor([0.1, 0.4, 2.0], dtype=torch.float64), torch.tensor([0.7, 1.0, 1.0], dtype=torch.float64))
    assert torch.allclose(gaussian_kl(a, b, c, d), kl_divergence(Normal(a, b.sqrt()), Normal(c, d.sqrt())), atol=1e-12)


def test_kl_of_nearly_equal_means_in_float32():
    """At late t the means differ by 1e-5 standard deviations: the KL is 5e-11 each, which a sum with 1 in between would lose."""
    a, b, variance = torch.tensor(1e-5), torch.tensor(0.0), torch.tensor(0.7)
    assert gaussian_kl(a, variance, b, variance).item() == pytest.approx(0.5e-10 / 0.7, rel=1e-5)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


def saying(schedule, t, fraction=None, x0=(0.1, -0.4)):
    """A prediction about x_t = (0.3, 0.9), one row."""
    say = None if fraction is None else double(*fraction)
    return Prediction(double([0.3, 0.9]), schedule.at(t), "x0", double(x0), say)


@pytest.mark.parametrize(("t", "s"), [(1, 0), (2, 1), (700, 699), (900, 500), (1000, 0), (300, 0)])
def test_reverse_step(t, s):
    """The fixed variances are beta and beta-tilde of the step taken; a learned one lies between them on the scale of logarithms."""
    schedule = Schedule.linear(1000)
    beta = 1 - schedule.alpha_bar[t] / schedule.alpha_bar[s]
    floor = {(1, 0): (2, 1), (300, 0): (600, 300), (1000, 0): (1000, 999)}  # where beta-tilde is 0: that of the step before
    tilde = posterior_variance(schedule, *floor.get((t, s), (t, s)))
    prediction = saying(schedule, t, fraction=[[0.0, 0.3]])
    mean, small = reverse_step(prediction, schedule, t, s)
    expected, _ = q_posterior(schedule, double([0.1, -0.4]), prediction.x_t, t, s)
    assert torch.equal(mean, expected)
    assert small.exp().item() == pytest.approx(tilde.item(), rel=1e-12)
    assert reverse_step(prediction, schedule, t, s, "large")[1].exp().item() == pytest.approx(beta.item(), rel=1e-12)
    learned = reverse_step(prediction, schedule, t, s, "learned")[1].exp()
    assert learned.tolist()[0] == pytest.approx([tilde.item(), beta.item() ** 0.3 * tilde.item() ** 0.7], rel=1e-12)
    own = reverse_step(prediction, schedule, t, s, lambda t, s: 0.5 * t - 0.25 * s)[1].exp()
    assert own.item() == pytest.approx(0.5 * t - 0.25 * s, rel=1e-12)


@pytest.mark.parametrize("variance", ["small", "large", "learned", lambda t, s: 0.1 * t.double()])
def test_reverse_steps_of_several_times(variance):
    schedule, t = Schedule.cosine(20), torch.tensor([1, 2, 20, 11])
    x, x0, f = (torch.rand(4, 3, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(3))
    mean, logvar = reverse_step(Prediction(x, schedule.at(t), "x0", x0, f), schedule, t, t - 1, variance)
    for k in range(4):
        row, time = slice(k, k + 1), t[k]
        m, v = reverse_step(Prediction(x[row], schedule.at(time), "x0", x0[row], f[row]), schedule, time, time - 1, variance)
        assert torch.allclose(mean[row], m, atol=1e-14) and torch.allclose(logvar[row].expand_as(m), v.expand_as(m), atol=1e-12)


@pytest.mark.parametrize(("fraction", "variance", "message"), [
    (None, "learned", "must be 'small' or 'large', got 'learned', of which this denoiser says nothing"),
    ([[0.0, 1.0]], "medium", "must be 'small' or 'large' or 'learned', got 'medium'"),
    (None, None, "must be 'small' or 'large', got None"),
    (None, lambda t, s: 0.0, "a variance must be positive, got 0.0 for the step from t = 7 to s = 6"),
    (None, lambda t, s: math.nan, "a variance must be positive, got nan"),
])
def test_reverse_step_refuses(fraction, variance, message):
    schedule = Schedule.linear(10)
    with pytest.raises(ValueError, match=message):
        reverse_step(saying(schedule, 7, fraction), schedule, 7, 6, variance)


@pytest.mark.parametrize(("level", "scale"), [(0.0, "small"), (1.0, "large"), (0.25, None)])
def test_ddpm_takes_the_learned_variance_of_the_step_it_makes(level, scale):
    """Three steps of about 300: as with the fixed variance at either end, between them a standard deviation between the two."""
    schedule, x = Schedule.linear(1000), double([0.5, -1.0], [2.0, 0.0])

    def predict(x_t, t, cond):
        return Prediction(x_t, schedule.at(t), "x0", x_t / 3, torch.full_like(x_t, level))

    learning = FunctionDenoiser(schedule, predict)

    def run(variance):
        return [step.x for step in ddpm(learning, x, schedule, steps=3, variance=variance, generator=torch.Generator().manual_seed(0))]

    if scale is not None:
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(run("learned"), run(scale), strict=True))
        return
    beta, tilde = 1 - schedule.alpha_bar[1000] / schedule.alpha_bar[667], posterior_variance(schedule, 1000, 667)
    mean, _ = q_posterior(schedule, x / 3, x, 1000, 667)
    noise = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(run("learned")[0], mean + beta ** (level / 2) * tilde ** ((1 - level) / 2) * noise, atol=1e-12)


@pytest.mark.parametrize("steps", [2, 7, 50])
def test_ddpm_with_the_optimal_variance_keeps_a_gaussian(steps):
    """For N(0, .25) the reverse step is Gaussian whatever its width, so its variance keeps every x_s right; "small" does not."""
    schedule = Schedule.linear(1000)
    exact = GaussianMixture(torch.ones(1), torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0.25])).denoiser(schedule)

    def optimal(t, s):
        now, then = (1 - 0.75 * schedule.at(k) for k in (t, s))  # variances of x_t and x_s
        return then - schedule.at(t) / schedule.at(s) * then**2 / now

    def spread(variance):
        """Variance at the last s > 0: that carried over from x_T, and what each step adds, by a run without and runs with one's noise."""
        pairs = [(step.t, step.s) for step in ddpm(exact, double([0.0]), schedule, steps=steps, variance=variance)][:-1]
        total = 1 - 0.75 * schedule.alpha_bar[1000]
        for t, s in pairs:
            mean, logvar = reverse_step(exact(double([1.0]), t), schedule, t, s, variance)
            total = mean.squeeze() ** 2 * total + logvar.exp()
        return total.item(), 1 - 0.75 * schedule.alpha_bar[pairs[-1][1]].item()

    assert spread(optimal)[0] == pytest.approx(spread(optimal)[1], abs=1e-12)
    assert abs(spread("small")[0] - spread("small")[1]) > 1e-3
