"""The explorer of losses: its sweep, and its curves against perturbed predictions, the core's bound and sampled losses."""

import json
import re

import pytest
import torch

from diffusion_core import GaussianMixture, Prediction, Schedule, q_sample
from diffusion_core.explorers.loss_spending import (
    COLOURS,
    POINTS,
    SCHEDULES,
    WEIGHTINGS,
    loss_spending_explorer,
    named_schedule,
    spending,
    unit_error,
    x0_weight,
)
from diffusion_core.likelihood import vlb_term
from diffusion_core.training import weighted_error

KINDS = ("x0", "eps", "v")
TIMES = [2, 40, 500, 990, 1000]


def test_the_whole_grid_can_be_drawn_and_says_what_it_shows():
    explorer = loss_spending_explorer()
    frames = explorer.sweep()
    assert len(frames) == 27 and len({f.caption for f in frames}) == 27
    for point, frame in zip(explorer.points, frames, strict=True):
        schedule, (above, below) = named_schedule(point["schedule"]), frame.panels
        assert [(s.label, s.colour) for s in above.series] == list(COLOURS.items())
        assert [s.label for s in above.series if s.width == 3] == [point["predicts"]]
        for s in above.series:
            t = torch.from_numpy(s.x).long()
            assert (t[0], t[-1], len(t)) == (1, 1000, POINTS) and set(t.diff().tolist()) == {5, 6}
            assert torch.allclose(torch.from_numpy(s.y).double(), unit_error(schedule, s.label)[t - 1], rtol=1e-6)
        _, until, curve = below.series
        shares, t = spending(schedule, point["predicts"], point["weighting"]), torch.from_numpy(curve.x).long()
        assert (t[0], t[-1], len(t), curve.colour) == (2, 1000, POINTS, COLOURS[point["predicts"]])
        assert torch.allclose(torch.from_numpy(curve.y).double(), shares[t - 2] * 999, rtol=1e-6)
        half = int(re.search(r"spent by t = (\d+)", frame.caption)[1])
        assert until.x.tolist() == [half, half] and shares[: half - 1].sum() >= 0.5 > shares[: half - 2].sum()


def test_the_target_does_not_matter_where_the_weights_are_made_to_agree():
    for name in SCHEDULES:
        for weighting in WEIGHTINGS[1:]:
            shares = [spending(named_schedule(name), kind, weighting) for kind in KINDS]
            assert torch.allclose(shares[0], shares[1], rtol=1e-9) and torch.allclose(shares[0], shares[2], rtol=1e-9)
        assert not torch.allclose(spending(named_schedule(name), "eps", "plain"), spending(named_schedule(name), "v", "plain"), rtol=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", TIMES)
def test_a_unit_error_of_the_target_by_moving_it(kind, t):
    schedule = named_schedule("scaled linear")
    x_t = torch.tensor([[0.3]], dtype=torch.float64)
    at = [Prediction(x_t, schedule.at(t), kind, x_t * 0 + value).x0 for value in (0.2, 1.2)]
    assert float((at[0] - at[1]).abs()) == pytest.approx(float(unit_error(schedule, kind)[t - 1]), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("weighting", "gamma"), [("plain", None), ("min-SNR 5", 5.0)])
def test_weights_are_those_of_the_cores_loss(kind, weighting, gamma):
    schedule = Schedule.cosine(1000)
    for t in TIMES[:-1]:
        x0, eps = (torch.tensor([[v]], dtype=torch.float64) for v in (0.4, -0.9))
        prediction = Prediction(q_sample(schedule, x0, t, eps), schedule.at(t), "x0", x0 + 0.1)
        paid = float(weighted_error(prediction, schedule, kind, x0, torch.tensor([t]), eps, gamma))
        assert paid / 0.01 == pytest.approx(float(x0_weight(schedule, kind, weighting)[t - 2]), rel=1e-6)


def test_the_bounds_weight_is_the_cores_kl():
    schedule = Schedule.linear(1000)
    for t in TIMES:
        x0, eps = (torch.tensor([[v]], dtype=torch.float64) for v in (0.4, -0.9))
        kl = vlb_term(Prediction(q_sample(schedule, x0, t, eps), schedule.at(t), "x0", x0 + 0.1), schedule, x0, t)
        assert float(kl) / 0.01 == pytest.approx(float(x0_weight(schedule, "x0", "bound")[t - 2]), rel=1e-6)


def test_spending_by_draws():
    """Shares of L_simple in three ranges of t, from the exact denoiser of a mixture with one part."""
    schedule, generator = Schedule.cosine(1000), torch.Generator().manual_seed(0)
    gm = GaussianMixture([1.0], torch.zeros(1, 1).double(), [0.25])
    x0, t = gm.sample(200_000, generator)[0], torch.randint(2, 1001, (200_000,), generator=generator)
    eps = torch.randn(x0.shape, dtype=torch.float64, generator=generator)
    paid = (gm.denoiser(schedule)(q_sample(schedule, x0, t, eps), t).eps - eps)[:, 0] ** 2
    shares = spending(schedule, "eps", "plain")
    for low, high in ((2, 200), (200, 500), (500, 1001)):
        assert float(paid[(t >= low) & (t < high)].sum() / paid.sum()) == pytest.approx(float(shares[low - 2 : high - 2].sum()), abs=0.005)


def test_stills_are_few_and_small(monkeypatch):
    monkeypatch.setenv("BOOK_BUILD", "1")
    stills = loss_spending_explorer().stills
    assert len(stills) == 18 and len(json.dumps(stills)) < 200_000


@pytest.mark.parametrize(("call", "message"), [
    (lambda: named_schedule("square"), "schedule must be one of .*got 'square'"),
    (lambda: unit_error(Schedule.cosine(10), "u"), "target must be one of .*got 'u'"),
    (lambda: x0_weight(Schedule.cosine(10), "eps", "none"), "weighting must be one of .*got 'none'"),
])
def test_wrong_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
