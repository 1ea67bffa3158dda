"""The averaging explorer: swept over its grid, its recursion against many simulated runs and closed forms."""

import json
import math
import re

import pytest
import torch

from diffusion_core.explorers import ema_half_life as ema
from diffusion_core.explorers.ema_half_life import HALF_LIVES, RATES, STEPS, ema_explorer


def test_moments_are_those_of_simulated_runs():
    rate, decay, n = 0.2, 0.9, 40_000
    generator = torch.Generator().manual_seed(1)
    w = s = torch.full((n,), 2.0, dtype=torch.float64)
    for _ in range(30):
        w = w - rate * (w + torch.randn(n, dtype=torch.float64, generator=generator))
        s = s + (1 - decay) * (w - s)
    mean, variance = ema.moments(rate, decay, 30, 2.0)
    for column, values in enumerate((w, s)):
        sd = float(variance[-1, column]) ** 0.5
        assert float(values.mean()) == pytest.approx(float(mean[-1, column]), abs=4 * sd / math.sqrt(n))
        assert float(values.var()) == pytest.approx(sd**2, rel=4 * math.sqrt(2 / n))


@pytest.mark.parametrize("rate", RATES)
def test_the_weights_own_moments_are_a_geometric_series(rate):
    mean, variance = ema.moments(rate, 0.9)
    a = 1 - rate
    assert mean[-1, 0] == pytest.approx(3 * a**STEPS, abs=1e-12)
    assert variance[-1, 0] == pytest.approx(rate**2 * (1 - a ** (2 * STEPS)) / (1 - a**2), rel=1e-10)


def test_off_is_the_weight_itself_and_a_path_repeats():
    assert torch.equal(ema.path(0.1, 0.0)[:, 0], ema.path(0.1, 0.0)[:, 1])
    assert torch.equal(ema.excess(0.1, 0.0)[:, 0], ema.excess(0.1, 0.0)[:, 1])
    assert torch.equal(ema.path(0.1, 0.9), ema.path(0.1, 0.9)) and not torch.equal(ema.path(0.1, 0.9), ema.path(0.1, 0.9, seed=1))


@pytest.mark.parametrize("half_life", HALF_LIVES[1:])
def test_half_life(half_life):
    assert ema.decay_of(half_life) ** half_life == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("call", [lambda: ema.decay_of(-1), lambda: ema.stationary_ratio(2.0, 0.5), lambda: ema.stationary_ratio(0.1, 1.0)])
def test_bad_values_are_refused(call):
    with pytest.raises(ValueError, match="half-life must be|rate must lie"):
        call()


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    explorer = ema_explorer()
    frames = explorer.sweep()
    assert len(frames) == len(HALF_LIVES) * len(RATES) == 32 == len({frame.caption for frame in frames})
    for point, frame in zip(explorer.points, frames, strict=True):
        raw50, avg50, raw, avg = map(float, re.findall(r"0\.\d{4}|\d\.\d{4}", frame.caption)[-4:])
        decay = ema.decay_of(point["half_life"])
        expected = ema.excess(point["rate"], decay)
        assert [raw50, avg50, raw, avg] == [pytest.approx(float(v), abs=6e-5) for v in (*expected[50], *expected[STEPS])]
        assert avg50 >= raw50 if point["half_life"] >= 100 else True
        above, below = frame.panels
        for series, values, every in ((above.series[1:], ema.path(point["rate"], decay, ema.SEED), 1), (below.series, expected, ema.EVERY)):
            assert [s.colour for s in series] == [ema.BLUE, ema.VERMILLION] and ["average" in s.label for s in series] == [False, True]
            for s, column in zip(series, values.T, strict=True):
                assert s.x.tolist() == list(range(0, STEPS + 1, every))
                assert s.y == pytest.approx(column[::every].numpy(), rel=1e-6)


def test_the_best_half_life_is_neither_the_shortest_nor_the_longest():
    last = {h: float(ema.excess(0.1, ema.decay_of(h))[STEPS, 1]) for h in HALF_LIVES}
    assert min(last, key=last.get) in (20, 50) and last[0] > 3 * min(last.values()) and last[200] > 3 * min(last.values())


def test_stills_are_few_small_and_hold_the_answers_of_the_section(monkeypatch):
    """The best half-lives after 50 and after 400 updates at rate 0.1, and the rates 0.02 and 0.3 with that average and without."""
    explorer = ema_explorer()
    best = [min(HALF_LIVES, key=lambda h, k=k: float(ema.excess(0.1, ema.decay_of(h))[k, 1])) for k in (50, STEPS)]
    assert best == [5, 50] and all({"half_life": h, "rate": rate} in explorer.still_points for h in (0, *best) for rate in (0.02, 0.1, 0.3))
    monkeypatch.setenv("BOOK_BUILD", "1")
    stills = ema_explorer().stills
    assert len(stills) == 15 and len(json.dumps(stills)) < 250_000
