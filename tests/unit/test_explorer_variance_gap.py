"""The variance-gap explorer: its sweep, and its gaps against quadrature, the core's bound and known limits."""

import json
import re

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core import Prediction, Schedule, q_sample
from diffusion_core.explorers.variance_gap import (
    COLOURS,
    LENGTHS,
    SPREADS,
    VARIANCES,
    bound_gap,
    state_variances,
    variance_gap_explorer,
    variance_ratios,
)
from diffusion_core.likelihood import vlb_prior, vlb_term

LEVEL = 0.5 * (0.5772156649015329 + 1 - 0.6931471805599453)  # (Euler's constant + 1 - log 2) / 2, where fixed-small ends


def core_gap(schedule, c2, variance):
    """The same gap by the core's terms of the bound: x0 and eps at +-1 standard deviation give exact means of all that is quadratic."""
    x0 = c2**0.5 * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]], dtype=torch.float64)
    eps = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]], dtype=torch.float64)
    T = len(schedule)
    t = torch.arange(1, T + 1).repeat_interleave(4)
    x_t, a = q_sample(schedule, x0.repeat(T, 1), t, eps.repeat(T, 1)), schedule.alpha_bar[t][:, None]
    prediction = Prediction(x_t, schedule.at(t), "x0", c2 * a.sqrt() / (c2 * a + 1 - a) * x_t)
    terms = vlb_term(prediction, schedule, x0.repeat(T, 1), t, variance=variance, bins=None)
    entropy = Normal(torch.zeros(()).double(), torch.tensor(c2, dtype=torch.float64).sqrt()).entropy()
    return float(vlb_prior(schedule, x0).mean() + terms.sum() / 4 - entropy)


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    explorer = variance_gap_explorer()
    frames = explorer.sweep()
    assert len(frames) == len(LENGTHS) * len(VARIANCES) * len(SPREADS) == 108 == len({f.caption for f in frames})
    for point, frame in zip(explorer.points, frames, strict=True):
        T, variance, c2 = point["T"], point["variance"], point["spread"] ** 2
        gap, (above, below) = bound_gap(Schedule.linear(T), c2, variance), frame.panels
        here, last = (float(x) for x in re.findall(r"(?:gap|:) ([\d.e+-]+)", frame.caption.split("sd")[1]))
        assert here == pytest.approx(gap, rel=0.06, abs=1e-12)
        assert (last > 0.4) == (variance == "small")
        ratios = above.series[1]
        t = torch.from_numpy(ratios.x).long()
        assert (t[0], t[-1], ratios.colour) == (1, T, COLOURS[variance]) and len(t) <= 300 and (t.diff() > 0).all()
        expected = variance_ratios(Schedule.linear(T), c2, variance)[t - 1]
        assert torch.allclose(torch.from_numpy(ratios.y).double(), expected, rtol=1e-6)
        *curves, dot = below.series
        assert [(s.label, s.colour, s.width) for s in curves] == [(v, COLOURS[v], 2.5 if v == variance else 1.2) for v in VARIANCES]
        assert dot.style == "o" and dot.colour == COLOURS[variance] and (dot.x.tolist(), dot.y.tolist()) == ([T], [pytest.approx(gap, rel=1e-6, abs=1e-12)])
        assert dot.y[0] == curves[VARIANCES.index(variance)].y[LENGTHS.index(T)]


def test_the_dot_moves_with_T_and_the_curves_below_do_not():
    explorer = variance_gap_explorer()
    one, other = (explorer.final(T=T, variance="large").panels[1].series for T in (100, 10_000))
    assert all(np.array_equal(a.x, b.x) and np.array_equal(a.y, b.y) for a, b in zip(one[:3], other[:3], strict=True))
    assert one[0].x.tolist() == list(LENGTHS) and one[3].y[0] / other[3].y[0] == pytest.approx(100, rel=0.2)  # falls as 1 / T


def test_stills_are_few_and_small(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    stills = variance_gap_explorer().stills
    assert len(stills) == 4 * 3 * 2 and len(json.dumps(stills)) < 200_000


@pytest.mark.parametrize("c2", [0.01, 0.25, 1.0, 4.0])
@pytest.mark.parametrize("variance", ["small", "large"])
def test_gaps_are_those_of_the_cores_bound(variance, c2):
    for schedule in (Schedule.linear(10), Schedule.linear(300), Schedule.cosine(40)):
        assert bound_gap(schedule, c2, variance) == pytest.approx(core_gap(schedule, c2, variance), abs=1e-9)


def test_published_gaps_and_limits():
    """N(0, .25): .570 and .0011 at T = 1000, .445 at 10^5; fixed-small ends at the same level for any data, the rest vanishes."""
    assert bound_gap(Schedule.linear(1000), 0.25, "small") == pytest.approx(0.570, abs=5e-4)
    assert bound_gap(Schedule.linear(1000), 0.25, "large") == pytest.approx(0.0011, abs=5e-5)
    assert bound_gap(Schedule.linear(100_000), 0.25, "small") == pytest.approx(0.445, abs=5e-4)
    for c2 in (0.25, 1.0, 4.0):
        assert bound_gap(Schedule.linear(1_000_000), c2, "small") == pytest.approx(LEVEL, abs=2e-3)
        assert bound_gap(Schedule.linear(100_000), c2, "large") < 1.5e-4
        assert bound_gap(Schedule.linear(1000), c2, "optimal") < 1e-8


def test_what_only_the_prior_costs():
    schedule = Schedule.linear(10, 1e-4, 0.2)
    V = state_variances(schedule, 0.25)
    expected = kl_divergence(Normal(V.new_zeros(()), V[-1].sqrt()), Normal(V.new_zeros(()), V.new_ones(()))).item()
    assert bound_gap(schedule, 0.25, "optimal") == pytest.approx(expected, abs=1e-14) and expected > 0.01
    assert bound_gap(schedule, 1.0, "large") == pytest.approx(0, abs=1e-14)  # white data: beta is right and the prior matches


def test_ratios_by_conditioning_the_joint():
    """True variances from the covariance of (x_{t-1}, x_t), by Schur's complement, over the variances as written down."""
    schedule, c2 = Schedule.linear(7), 0.3
    a = schedule.alpha_bar
    for t in range(1, 8):
        keep = a[t] / a[t - 1]
        before, now = (a[i] * c2 + 1 - a[i] for i in (t - 1, t))
        true = before - (keep.sqrt() * before) ** 2 / now
        k = max(t, 2)
        used = {"small": (1 - a[k - 1]) / (1 - a[k]) * (1 - a[k] / a[k - 1]), "large": 1 - keep, "optimal": true}
        for name, value in used.items():
            assert float(variance_ratios(schedule, c2, name)[t - 1]) == pytest.approx(float(true / value), rel=1e-10)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: bound_gap(Schedule.linear(10), 0.25, "medium"), "variance must be one of .*got 'medium'"),
    (lambda: bound_gap(Schedule.linear(10), 0.0, "small"), "data_variance must be positive, got 0.0"),
    (lambda: bound_gap(Schedule.linear(1), 0.25, "small"), "at least 2 steps, got 1"),
])
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
