"""The particles explorer: its sweep, and its two films against the exact densities."""

import json
import math
import re

import numpy as np
import pytest
import torch

from diffusion_core.explorers.particles import (
    PARTICLES,
    SHAPES,
    SHOWN,
    STILLS,
    WAYS,
    backward,
    clumps,
    forward,
    particles_explorer,
    relaxation,
)

N = 4000
H, SCHEDULE = relaxation()


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def shares(cloud):
    """Share of the cloud (N, 2) nearest to each of the three clumps."""
    return torch.cdist(cloud, clumps().means).argmin(1).bincount(minlength=3) / len(cloud)


def film_back(way, n=N):
    """The cloud run backwards, (401, n, 2), entry t at time h[t]."""
    return torch.stack(list(backward(clumps(), H, SCHEDULE, n, way, seeded(1)))).flip(0)


def test_the_clock_is_that_of_a_trap_of_stiffness_one():
    assert float(H[0]) == 0 and float(H[-1]) == pytest.approx(4) and len(H) == len(SCHEDULE) + 1 == 401
    torch.testing.assert_close(SCHEDULE.alpha_bar.log(), -2 * H, rtol=1e-12, atol=1e-14)


def test_forward_and_backward_clouds_have_the_exact_mean_log_density():
    """E log p_h under p_h by its own large sample; both films must agree with it at every time, within 5 standard errors."""
    away, back = torch.stack(list(forward(clumps(), H, N, seeded(0)))), film_back("exact")
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
    none, clean = (film_back(way)[0] for way in ("none", "clean"))
    assert none.var(0).sub(1).abs().max() < 0.12 and none.mean(0).abs().max() < 0.1  # still the round cloud
    assert (shares(clean) - torch.tensor([0.2, 0.3, 0.5])).abs().max() > 0.08


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    explorer = particles_explorer()
    frames = explorer.sweep()
    assert len(frames) == len(SHOWN) * len(SHAPES) * len(WAYS) == 78
    for point, frame in zip(explorer.points, frames, strict=True):
        time, alpha_bar, away, back = (float(v) for v in re.findall(r"-?\d+\.\d+", frame.caption))
        assert time == pytest.approx(float(H[point["t"]]), abs=0.006) and alpha_bar == pytest.approx(math.exp(-2 * float(H[point["t"]])), abs=6e-4)
        clouds = [torch.from_numpy(np.stack([s.x, s.y], 1)).double() for panel in frame.panels for s in panel.series]
        typical = [SHAPES[point["shape"]]().log_prob(SCHEDULE, cloud, point["t"]).mean() for cloud in clouds]
        assert len(clouds[0]) == len(clouds[1]) == PARTICLES and typical == pytest.approx([away, back], abs=0.01)
        if point["way"] == "exact":
            assert abs(away - back) < 0.25
        if point["way"] == "none" and point["t"] == 0:
            assert back < away - 5  # the round cloud is no likely picture of the data


def test_left_starts_at_the_data_and_right_at_the_round_cloud():
    explorer = particles_explorer()
    first, last = (explorer.final(t=t, shape="ring", way="none").panels for t in (0, 400))
    radius = [np.hypot(panel.series[0].x, panel.series[0].y) for panel in (*first, *last)]
    assert [panel.title for panel in first] == ["forwards", "backwards"]
    assert radius[0].std() < 0.25 and abs(radius[0].mean() - 1.5) < 0.05  # the ring
    assert all(abs((r**2).mean() - 2) < 0.3 and r.std() > 0.5 for r in radius[1:])


def test_stills_are_few_and_small(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    stills = particles_explorer().stills
    assert len(stills) == len(STILLS) * 2 * 3 and len(json.dumps(stills)) < 300_000


def test_an_interrupted_film_goes_on_where_it_stopped():
    whole, stopped = particles_explorer().final(t=80, way="clean"), particles_explorer()
    for pieces in (3, 50):
        frames = stopped.frames(t=80, way="clean")
        assert [next(frames) for _ in range(pieces)] == [None] * pieces
        frames.close()
    steps = list(stopped.frames(t=80, way="clean"))
    assert len(steps) < 30 and steps[-1].caption == whole.caption  # of 80 pieces 53 were done
    for panel, other in zip(steps[-1].panels, whole.panels, strict=True):
        assert np.array_equal(panel.series[0].x, other.series[0].x) and np.array_equal(panel.series[0].y, other.series[0].y)


def test_the_same_point_gives_the_same_clouds_whatever_was_drawn_before():
    explorer = particles_explorer()
    first = explorer.final(t=80, shape="ring", way="exact").message()
    explorer.final(t=0, shape="clumps", way="none")
    for other in (explorer, particles_explorer()):
        assert other.final(t=80, shape="ring", way="exact").message() == first


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"way must be one of \['exact', 'none', 'clean'\], got 'score'"):
        next(backward(clumps(), H, SCHEDULE, 5, "score", seeded(0)))
    with pytest.raises(ValueError, match="steps and duration must be positive, got 0 and 4.0"):
        relaxation(0)
