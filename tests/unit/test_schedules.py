"""Schedules and grids of times."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from diffusion_core import Schedule, cosine_betas, linear_betas, timesteps, zero_terminal_snr
from diffusion_core.schedules import SPACINGS


@st.composite
def grids(draw):
    T = draw(st.integers(1, 1500))
    return T, draw(st.integers(1, T)), draw(st.sampled_from(SPACINGS))


@given(grids())
def test_a_grid_is_n_chained_falling_pairs(grid):
    T, n, spacing = grid
    pairs = timesteps(T, n, spacing)
    assert len(pairs) == n and pairs[-1][1] == 0
    assert all(isinstance(t, int) and T >= t > s >= 0 for t, s in pairs)
    assert all(s == t for (_, s), (t, _) in zip(pairs, pairs[1:], strict=False))


@given(grids())
def test_a_grid_has_the_ends_and_strides_of_its_spacing(grid):
    T, n, spacing = grid
    times = [t for t, _ in timesteps(T, n, spacing)]
    strides = {a - b for a, b in zip(times, times[1:], strict=False)}
    if spacing == "leading":
        assert times[-1] == 1 and strides <= {T // n}
    else:
        assert times[0] == T and (not strides or max(strides) - min(strides) <= 1)
        assert spacing == "trailing" or n == 1 or times[-1] == 1


@given(grids(), st.integers(0, 50))
def test_an_offset_moves_every_leading_time(grid, offset):
    T, n, _ = grid
    times = [t for t, _ in timesteps(T, n, "leading")]
    if times[0] + offset > T:
        with pytest.raises(ValueError, match="leave 1 .."):
            timesteps(T, n, "leading", offset)
    else:
        assert [t for t, _ in timesteps(T, n, "leading", offset)] == [t + offset for t in times]


def test_all_spacings_agree_on_all_steps():
    assert timesteps(50, 50, "leading") == timesteps(50, 50, "trailing") == timesteps(50, 50, "linspace")
    assert timesteps(4, 4) == [(4, 3), (3, 2), (2, 1), (1, 0)]


@given(st.integers(1, 3000), st.sampled_from([linear_betas, cosine_betas]))
def test_every_length_gives_a_valid_schedule(T, betas):
    b = betas(T)
    assert b.shape == (T,) and b.dtype == torch.float64 and bool(((b > 0) & (b <= 0.999)).all())
    schedule = Schedule.from_betas(b)
    assert torch.allclose(schedule.betas[1:], b, rtol=1e-6, atol=1e-12)
    assert schedule.alpha_bar[-1].item() == pytest.approx(math.prod((1 - b).tolist()), rel=1e-9)


def test_final_alpha_bar_is_the_entry_of_clean_data():
    schedule = Schedule.from_betas(torch.tensor([0.1, 0.2]), final_alpha_bar=0.95)
    assert schedule.alpha_bar.tolist() == pytest.approx([0.95, 0.9, 0.72], rel=1e-7)


def test_snr():
    schedule = Schedule.from_betas(torch.tensor([0.1, 0.2], dtype=torch.float64))
    assert schedule.snr(2).item() == pytest.approx(0.72 / 0.28)
    assert schedule.snr(torch.tensor([1, 2])).tolist() == pytest.approx([9, 0.72 / 0.28])


def test_zero_terminal_snr_keeps_the_first_and_scales_the_roots():
    schedule = Schedule.linear(10, 0.01, 0.3)
    ours, root = zero_terminal_snr(schedule).alpha_bar, schedule.alpha_bar.sqrt()
    assert ours[-1] == 0 and ours[0] == 1 and ours[1].item() == pytest.approx(schedule.alpha_bar[1].item(), rel=1e-12)
    middle = ((root[5] - root[10]) / (root[1] - root[10]) * root[1]) ** 2  # Lin et al. 2024, algorithm 1
    assert ours[5].item() == pytest.approx(middle.item(), rel=1e-12)


def test_a_schedule_cannot_be_changed():
    with pytest.raises(AttributeError):
        Schedule.linear(10).alpha_bar = torch.zeros(11)
