"""Statements that hold for every shape, schedule and grid of steps, on examples that hypothesis chooses (the same at every run)."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from diffusion_core import Schedule, ddim, ddpm, final, q_posterior, q_sample, timesteps
from diffusion_core.denoisers import FunctionDenoiser
from diffusion_core.gaussian import KINDS, Prediction
from diffusion_core.schedules import SPACINGS
from diffusion_core.training import EMA, Settings, seeded

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def schedules(draw, shortest=1, longest=300):
    """Linear and cosine ones, and any betas, also such that leave no signal at all or hardly any."""
    T = draw(st.integers(shortest, longest))
    kind = draw(st.sampled_from(["linear", "cosine", "any"]))
    if kind != "any":
        return getattr(Schedule, kind)(T)
    betas = 1e-4 + 0.3 * torch.rand(T, dtype=torch.float64, generator=seeded(draw(seeds)))
    return Schedule.from_betas(betas * min(1, 40 / T))  # alpha_bar stays far from the smallest float


def normal(seed, shape):
    return torch.randn(shape, dtype=torch.float64, generator=seeded(seed))


@given(schedules(), shapes, st.data(), seeds)
def test_q_posterior_undoes_what_q_adds(schedule, shape, data, seed):
    """x_s drawn from q(x_s | x_t, x_0) has the law of q(x_s | x_0) when x_t has that of q(x_t | x_0), for any s < t and for each t of a batch.

    As linear maps of independent noise: the mean at x_t = q_sample(x0, t, 0) is sqrt(alpha_bar_s) x0, and the variances add up to 1 - alpha_bar_s.
    """
    T, n = len(schedule), shape[0]
    t = torch.tensor(data.draw(st.lists(st.integers(1, T), min_size=n, max_size=n)))
    s = torch.tensor([data.draw(st.integers(0, int(u) - 1)) for u in t])
    x0, zero = normal(seed, shape), torch.zeros(shape, dtype=torch.float64)
    mean, variance = q_posterior(schedule, x0, q_sample(schedule, x0, t, zero), t, s)
    torch.testing.assert_close(mean, q_sample(schedule, x0, s, zero), atol=1e-10, rtol=1e-9)
    factor, _ = q_posterior(schedule, zero, zero + 1, t, s)  # what multiplies x_t
    wide = [a.reshape((-1,) + (1,) * (len(shape) - 1)) for a in (schedule.at(t), schedule.at(s))]
    torch.testing.assert_close(factor**2 * (1 - wide[0]) + variance, (1 - wide[1]).expand(shape), atol=1e-10, rtol=1e-9)


@given(schedules(), shapes, st.data(), seeds, st.sampled_from(KINDS), st.sampled_from(KINDS))
def test_a_prediction_read_and_read_back_is_itself(schedule, shape, data, seed, kind, other):
    n = shape[0]
    t = torch.tensor(data.draw(st.lists(st.integers(1, len(schedule)), min_size=n, max_size=n)))
    x0, eps = normal(seed, shape), normal(seed + 1, shape)
    x_t, a = q_sample(schedule, x0, t, eps), schedule.at(t)
    wide = a.reshape((-1,) + (1,) * (len(shape) - 1))
    truth = {"x0": x0, "eps": eps, "v": wide.sqrt() * eps - (1 - wide).sqrt() * x0}
    first = Prediction(x_t, a, kind, truth[kind])
    # Dividing by a small alpha or sigma costs digits: x0 from eps near t = T, eps from x0 near t = 0.
    digits = 1e-12 / min(float(a.sqrt().min()), float((1 - a).sqrt().min()))
    for name, value in truth.items():
        torch.testing.assert_close(getattr(first, name), value, atol=digits, rtol=1e-9)
    again = Prediction(x_t, a, other, getattr(first, other))
    torch.testing.assert_close(getattr(again, kind), truth[kind], atol=10 * digits**2 / 1e-12, rtol=1e-8)
    torch.testing.assert_close(first.score, -eps / (1 - wide).sqrt(), atol=100 * digits**2 / 1e-12, rtol=1e-8)


@given(st.integers(1, 1200), st.data(), st.sampled_from(SPACINGS))
def test_time_steps_fall_from_pair_to_pair_to_zero(T, data, spacing):
    n = data.draw(st.integers(1, T))
    grid = timesteps(T, n, spacing)
    assert len(grid) == n and grid[-1][1] == 0
    assert all(T >= t > s >= 0 for t, s in grid) and all(s == t for (_, s), (t, _) in zip(grid, grid[1:], strict=False))
    ends = {"trailing": grid[0][0] == T, "leading": grid[-1][0] == 1, "linspace": grid[0][0] == T and (n == 1 or grid[-1][0] == 1)}
    assert ends[spacing]
    gaps = [t - s for t, s in grid[:-1]]
    assert not gaps or max(gaps) - min(gaps) <= 1  # as even as whole numbers allow


@given(schedules(), shapes, st.data(), seeds, st.sampled_from(SPACINGS), st.floats(0, 1))
def test_samplers_are_exact_for_data_in_one_point(schedule, shape, data, seed, spacing, eta):
    """The true denoiser of one picture says that picture always. Every sampler, grid and eta must end at it, from any start."""
    T = len(schedule)
    grid = timesteps(T, data.draw(st.integers(1, min(T, 12))), spacing)
    x0, x = normal(seed, shape), normal(seed + 1, shape)
    denoiser = FunctionDenoiser(schedule, lambda x_t, t, cond: Prediction(x_t, schedule.at(t), "x0", x0))
    path = list(ddim(denoiser, x, schedule, steps=grid, eta=eta, generator=seeded(seed)))
    torch.testing.assert_close(path[-1].x, x0, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(final(ddpm(denoiser, x, schedule, steps=grid, generator=seeded(seed))), x0, atol=1e-9, rtol=1e-9)
    assert [(step.t, step.s) for step in path] == grid
    # eta = 0 keeps the noise it began with, at every time on the way.
    eps = Prediction(x, schedule.at(grid[0][0]), "x0", x0).eps
    for step in ddim(denoiser, x, schedule, steps=grid):
        torch.testing.assert_close(step.x, q_sample(schedule, x0, step.s, eps), atol=1e-8, rtol=1e-8)


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.floats(0, 0.9999))
def test_the_average_in_closed_form(values, decay):
    """Each weight, the first included, counts with (1 - its own decay) times the decays after it."""
    net = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(net.weight, 1.0)
    ema = EMA(net, decay)
    decays = [min(decay, (1 + k) / (10 + k)) for k in range(len(values))]
    shares = [1.0, *(1 - d for d in decays)]
    for value in values:
        nn.init.constant_(net.weight, value)
        ema.update(net)
    expected = 0.0
    for k, value in enumerate([1.0, *values]):
        later = torch.tensor(decays[k:], dtype=torch.float64).prod().item()
        expected += shares[k] * later * value
    torch.testing.assert_close(ema.shadow.weight.item(), expected, atol=1e-9, rtol=1e-9)


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 6), st.integers(1, 8))
def test_processes_share_the_micro_batches(micro, per_process, world, other):
    """Each micro-batch has one process, all have equally many, and what cannot be shared is refused."""
    shared = Settings(steps=1, batch=micro * per_process * world, micro=micro)
    shares = [shared.share(rank, world) for rank in range(world)]
    assert sorted(k for share in shares for k in share) == list(range(per_process * world)) and len({len(share) for share in shares}) == 1
    if (per_process * world) % other:
        with pytest.raises(ValueError, match=f"which {other} processes cannot share"):
            shared.share(0, other)


@settings(max_examples=30)
@given(st.integers(0, 10), st.integers(0, 10**6), st.integers(0, 64))
def test_micro_batches_have_unrelated_streams(seed, step, k):
    """The same numbers again, and other ones for every neighbour: seed, step and micro-batch are not simply added up."""
    def draw(*numbers):
        return torch.rand(4, generator=seeded(*numbers)).tolist()

    assert draw(seed, step, k) == draw(seed, step, k)
    others = [(seed + 1, step, k), (seed, step + 1, k), (seed, step, k + 1), (seed + 1, step + 1, k), (seed, step), (step, seed, k + 100)]
    assert draw(seed, step, k) not in [draw(*numbers) for numbers in others]
