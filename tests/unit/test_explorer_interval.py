"""The strength and interval explorer: its sweep, what its strip says, and its counts of evaluations."""

import json

import numpy as np
import pytest
import torch

from diffusion_core import Prediction, Schedule, ddim, final, guided
from diffusion_core.explorers.interval import ALONE, COLUMNS, GUIDED, HIGHS, LOWS, STRIP, WEIGHTS, guided_steps, interval_explorer
from diffusion_core.explorers.pictures import tile
from diffusion_core.explorers.refine import PREVIEW_STEPS, STEPS

SHAPE, NAMES = (1, 16, 16), ["a", "b", "c"]


class Counting:
    """A cheap denoiser whose x0 depends on t and cond; it keeps the rows of each call."""

    def __init__(self, T=1000):
        self.schedule, self.rows = Schedule.cosine(T), []

    def __call__(self, x_t, t, cond=None):
        self.rows.append(len(x_t))
        level = (cond.float() / 2 if cond is not None else torch.zeros(len(x_t)))[:, None, None, None]
        return Prediction(x_t, self.schedule.at(t), "x0", 0.3 * torch.tanh(x_t) + 0.2 * level)


def explorer(denoiser=None):
    return interval_explorer(denoiser or Counting(), NAMES, SHAPE, pictures=6)


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    e = explorer()
    points, frames = e.points, e.sweep()
    sheets = [frame.panels[0].pixels for frame in frames]
    assert len(frames) == len(WEIGHTS) * len(LOWS) * len(HIGHS) == 150 and len({sheet.shape for sheet in sheets}) == 1
    for point, frame, sheet in zip(points, frames, sheets, strict=True):
        inside = [point["w"] != 0 and point["low"] <= 1000 - 50 * k <= point["high"] for k in range(STEPS)]
        assert (f"{sum(inside)} of {STEPS} steps guided" in frame.caption) and ("empty" in frame.caption) == (point["low"] > point["high"])
        strip = sheet[-STRIP:]
        assert (strip == strip[0]).all()
        fields = [strip[0, int((k + 0.4) * len(strip[0]) / STEPS)] for k in range(STEPS)]
        assert fields == [GUIDED if guided else ALONE for guided in inside]
    again = e.final(**points[7])
    assert np.array_equal(again.panels[0].pixels, sheets[7]) and again.caption == frames[7].caption  # whatever was drawn in between


def test_full_is_guidance_and_empty_is_the_conditional_model():
    e = explorer()
    x_T, cond = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3
    for point, same in (({"w": 2.0, "low": 1, "high": 1000}, guided(Counting(), 2.0)), ({"w": 2.0, "low": 600, "high": 500}, Counting())):
        sheet = tile(final(ddim(same, x_T, Counting().schedule, steps=STEPS, cond=cond)), COLUMNS)
        assert np.array_equal(e.final(**point).panels[0].pixels[: len(sheet)], sheet)


def test_rows_are_doubled_inside_the_interval_only_and_a_preview_comes_first():
    denoiser = Counting()
    frames = interval_explorer(denoiser, NAMES, SHAPE, pictures=6).frames(w=1.0, low=300, high=700)
    first = next(f for f in frames if f is not None)
    assert len(denoiser.rows) == PREVIEW_STEPS and "preview in 4 steps" in first.caption
    for _ in frames:
        pass
    assert denoiser.rows == [12 if 300 <= t <= 700 else 6 for n in (PREVIEW_STEPS, STEPS) for t in range(1000, 0, -1000 // n)]
    assert sum(guided_steps(1000, 1.0, 300, 700)) == 9 and sum(guided_steps(1000, 0.0, 1, 1000)) == 0


def test_another_T_is_refused():
    with pytest.raises(ValueError, match="T = 1000, got a schedule of 50"):
        explorer(Counting(50))


def test_stills_are_few_and_small(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    e = interval_explorer(Counting(), NAMES)
    assert len(e.stills) == 8 and len(json.dumps(e.stills)) < 300_000 and e.engine is None  # a toy is no shipped network
