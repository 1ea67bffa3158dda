"""The particles explorer: its sweep, and its two films against the exact densities."""

import math
import re

import pytest
import torch

from diffusion_core.explorers.particles import SHAPES, SHOWN, STILLS, WAYS, backward, clumps, forward, particles_explorer, relaxation

N = 4000
H, SCHEDULE = relaxation()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def shares(cloud):
    """Share of the cloud (N, 2) nearest to each of the three clumps."""
    return torch.cdist(cloud, clumps().means).argmin(1).bincount(minlength=3) / len(cloud)


def test_the_clock_is_that_of_a_trap_of_stiffness_one():
    assert float(H[0]) == 0 and float(H[-1]) == pytest.approx(4) and len(H) == len(SCHEDULE) + 1 == 401
    torch.testing.assert_close(SCHEDULE.alpha_bar.log(), -2 * H, rtol=1e-12, atol=1e-14)


def test_forward_and_backward_clouds_have_the_exact_mean_log_density():
    """E log p_h under p_h by its own large sample; both films must agree with it at every time, within 5 standard errors."""
    away, back = forward(clumps(), H, N, seeded(0)), backward(clumps(), H, SCHEDULE, N, "exact", seeded(1))
    assert away.shape == back.shape == (401, N, 2)
    for t in (0, 60, 160, 300, 400):
        a = SCHEDULE.alpha_bar[t]
        x0, _ = clumps().sample(100_000, seeded(2))
        x = a.sqrt() * x0 + (1 - a).sqrt() * torch.randn(x0.shape, dtype=x0.dtype, generator=seeded(3))
        reference = clumps().log_prob(SCHEDULE, x, t)
        for cloud in (away[t], back[t]):
            error = clumps().log_prob(SCHEDULE, cloud, t).mean() - reference.mean()
            assert abs(error) < 5 * reference.std() / math.sqrt(N) + 0.02  # .02: what the Euler steps may cost
    assert (shares(back[0]) - torch.tensor([0.2, 0.3, 0.5])).abs().max() < 0.04


def test_the_wrong_ways_do_not_come_back():
    none, clean = (backward(clumps(), H, SCHEDULE, N, way, seeded(1))[0] for way in ("none", "clean"))
    assert none.var(0).sub(1).abs().max() < 0.12 and none.mean(0).abs().max() < 0.1  # still the round cloud
    assert (shares(clean) - torch.tensor([0.2, 0.3, 0.5])).abs().max() > 0.08


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    explorer = particles_explorer()
    frames = explorer.sweep()
    assert len(frames) == len(SHOWN) * len(SHAPES) * len(WAYS) == 78 and len({f.pixels.tobytes() for f in frames}) > 70
    for point, frame in zip(explorer.points, frames, strict=True):
        time, alpha_bar, away, back = (float(v) for v in re.findall(r"-?\d+\.\d+", frame.caption))
        assert time == pytest.approx(float(H[point["t"]]), abs=0.006) and alpha_bar == pytest.approx(math.exp(-2 * float(H[point["t"]])), abs=6e-4)
        if point["way"] == "exact":
            assert abs(away - back) < 0.25
        if point["way"] == "none" and point["t"] == 0:
            assert back < away - 5  # the round cloud is no likely picture of the data


def test_stills_are_few_and_small(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    stills = particles_explorer().stills
    assert len(stills) == len(STILLS) * 2 * 3 and max(len(s["png"]) for s in stills.values()) < 30_000


def test_the_same_point_gives_the_same_picture_whatever_was_drawn_before():
    explorer = particles_explorer()
    first = explorer.final(t=80, shape="ring", way="exact").pixels.tobytes()
    explorer.final(t=0, shape="clumps", way="none")
    assert explorer.final(t=80, shape="ring", way="exact").pixels.tobytes() == first


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"way must be one of \['exact', 'none', 'clean'\], got 'score'"):
        backward(clumps(), H, SCHEDULE, 5, "score", seeded(0))
    with pytest.raises(ValueError, match="steps and duration must be positive, got 0 and 4.0"):
        relaxation(0)
