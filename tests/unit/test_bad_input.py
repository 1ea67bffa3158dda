"""Every wrong argument of the core is refused with a ValueError that names what was wrong and what is accepted.

Each case: what the message must say, and the call. Data, weights and training have theirs beside their other tests.
"""

import math

import pytest
import torch

from diffusion_core import (
    NULL,
    GaussianMixture,
    NetworkDenoiser,
    Prediction,
    Schedule,
    UNet,
    UNetConfig,
    clipped,
    cosine_betas,
    ddim,
    ddpm,
    final,
    guided,
    linear_betas,
    q_posterior,
    q_sample,
    timesteps,
    vlb_terms,
)
from diffusion_core.evaluation import frechet, precision_recall, statistics

SCHEDULE = Schedule.linear(10)
X = torch.zeros(2, 3)
ONE = torch.tensor([1.0])


def mixture(labels=None):
    return GaussianMixture(torch.ones(2), torch.zeros(2, 3), torch.ones(2), labels)


def exact(labels=None):
    return mixture(labels).denoiser(SCHEDULE)


def table(*values):
    return Schedule(torch.tensor(values, dtype=torch.float64))


def unet(**options):
    torch.manual_seed(0)
    return UNet(UNetConfig(channels=8, groups=4, head_channels=8, classes=3, **options))


PICTURE, TIME = torch.zeros(2, 1, 8, 8), torch.tensor([0, 5])

SCHEDULES = [
    ("T must be an int of at least 1, got 0", lambda: linear_betas(0)),
    ("T must be an int of at least 1, got -3", lambda: cosine_betas(-3)),
    ("T must be an int of at least 1, got 10.0", lambda: Schedule.cosine(10.0)),
    (r"shape \(T,\) with 0 < beta <= 1, got shape \(0,\)", lambda: Schedule.from_betas(torch.zeros(0))),
    (r"shape \(T,\) with 0 < beta <= 1, got shape \(2, 2\)", lambda: Schedule.from_betas(torch.full((2, 2), 0.1))),
    ("0 < beta <= 1", lambda: Schedule.from_betas(torch.tensor([0.1, 0.0]))),
    ("0 < beta <= 1", lambda: Schedule.from_betas(torch.tensor([0.1, 1.5]))),
    ("0 < beta <= 1", lambda: Schedule.from_betas(torch.tensor([0.1, math.nan]))),
    ("0 < beta <= 1", lambda: Schedule.linear(10, 0.5, 2.0)),
    ("float64 CPU table", lambda: Schedule(torch.tensor([1.0, 0.5]))),
    ("float64 CPU table", lambda: table(1.0)),
    ("fall strictly", lambda: table(1.0, 0.5, 0.5)),
    ("fall strictly", lambda: table(1.0, 0.5, -0.1)),
    ("fall strictly", lambda: table(0.5, 0.6, 0.1)),
    ("fall strictly", lambda: table(1.1, 0.6, 0.1)),
    ("fall strictly", lambda: table(1.0, math.nan, 0.1)),
    ("fall strictly", lambda: Schedule.from_betas(torch.tensor([0.1]), final_alpha_bar=1.5)),
    ("t must lie in 0 .. 10, got 11", lambda: SCHEDULE.at(11)),
    ("t must lie in 0 .. 10, got -1", lambda: SCHEDULE.snr(-1)),
    ("t must lie in 1 .. 10, got 0", lambda: SCHEDULE.check(0)),
    ("t must be an int or a LongTensor", lambda: SCHEDULE.at(2.0)),
    ("t must be an int or a LongTensor", lambda: SCHEDULE.at(torch.tensor([True]))),
    ("t must be an int or a LongTensor", lambda: SCHEDULE.at(torch.ones(2, 1, dtype=torch.long))),
    ("t must lie in", lambda: SCHEDULE.at(torch.ones(0, dtype=torch.long))),
    ("steps must be an int in 1 .. 10, got 0", lambda: timesteps(10, 0)),
    ("steps must be an int in 1 .. 10, got 11", lambda: timesteps(10, 11)),
    ("steps must be an int in 1 .. 10, got 2.5", lambda: timesteps(10, 2.5)),
    ("spacing must be one of .*trailing.*, got 'even'", lambda: timesteps(10, 2, "even")),
    ("offset belongs to leading", lambda: timesteps(10, 2, offset=1)),
    ("2 leading steps with offset 9 leave 1 .. 10", lambda: timesteps(10, 2, "leading", 9)),
    ("leave 1 .. 10", lambda: timesteps(10, 2, "leading", -1)),
]
GAUSSIAN = [
    (r"eps must have the shape of x, \(2, 3\), got \(3,\)", lambda: q_sample(SCHEDULE, X, 1, torch.zeros(3))),
    ("t must lie in 0 .. 10, got 11", lambda: q_sample(SCHEDULE, X, 11, X)),
    ("t has 3 entries for a batch of 2", lambda: q_sample(SCHEDULE, X, torch.tensor([1, 2, 3]), X)),
    ("t has 1 entries for a batch of 2", lambda: q_sample(SCHEDULE, X, torch.tensor([1]), X)),
    ("x0 must have the shape of x", lambda: q_posterior(SCHEDULE, X[:1], X, 2, 1)),
    ("s must be earlier than t, got s = 2, t = 2", lambda: q_posterior(SCHEDULE, X, X, 2, 2)),
    ("s must be earlier than t", lambda: q_posterior(SCHEDULE, X, X, torch.tensor([5, 2]), torch.tensor([1, 3]))),
    ("t must lie in 1 .. 10, got 11", lambda: q_posterior(SCHEDULE, X, X, 11, 2)),
    ("t must lie in 0 .. 10, got -1", lambda: q_posterior(SCHEDULE, X, X, 1, -1)),
    ("must be one of .*eps.*, got 'noise'", lambda: Prediction(X, SCHEDULE.at(1), "noise", X)),
    ("the predicted v must have the shape of x", lambda: Prediction(X, SCHEDULE.at(1), "v", X[:, :1])),
    ("variance must be 'small' or 'large', got 'learned', of which this denoiser says nothing", lambda: vlb_terms(exact(), SCHEDULE, X, variance="learned")),
    ("T of at least 2, got T = 1", lambda: vlb_terms(exact(), Schedule.linear(1), X)),
]
DENOISERS = [
    ("predicts must be one of .*, got 'noise'", lambda: NetworkDenoiser(torch.nn.Identity(), SCHEDULE, "noise")),
    ("clip must be a positive finite number or None, got 0", lambda: NetworkDenoiser(torch.nn.Identity(), SCHEDULE, clip=0)),
    ("clip must be a positive finite number or None, got nan", lambda: clipped(exact(), math.nan)),
    ("t must lie in 1 .. 10, got 0", lambda: NetworkDenoiser(lambda x, t, cond: x, SCHEDULE)(X, 0)),
    ("the predicted v must have the shape of x", lambda: NetworkDenoiser(lambda x, t, cond: x[:, :2], SCHEDULE)(X, 1)),
    ("t must lie in 1 .. 10, got 0", lambda: exact()(X, 0)),
    (r"x must have shape \(N, 3\), got \(2, 4\)", lambda: exact()(torch.zeros(2, 4), 1)),
    (r"x must have shape \(N, 3\)", lambda: mixture().log_prob(SCHEDULE, torch.zeros(3), 1)),
    ("t has 3 entries for a batch of 2", lambda: exact()(X, torch.tensor([1, 2, 3]))),
    ("this mixture has no labels", lambda: exact()(X, 1, torch.tensor([0, 0]))),
    (r"cond must be among the labels \[0, 1\]", lambda: exact([0, 1])(X, 1, torch.tensor([0, 2]))),
    (r"cond must be an int or a LongTensor \(2,\)", lambda: exact([0, 1])(X, 1, torch.tensor([0, 1, 0]))),
    (r"cond must be an int or a LongTensor \(2,\)", lambda: exact([0, 1])(X, 1, torch.tensor([0.0, 1.0]))),
    ("cond must be among the labels", lambda: mixture([0, 1]).sample(3, cond=5)),
    (r"weights \(K,\) > 0 and means \(K, D\)", lambda: GaussianMixture(torch.tensor([1.0, 0.0]), torch.zeros(2, 3), torch.ones(2))),
    (r"weights \(K,\) > 0 and means \(K, D\)", lambda: GaussianMixture(torch.ones(3), torch.zeros(2, 3), torch.ones(2))),
    (r"weights \(K,\) > 0 and means \(K, D\)", lambda: GaussianMixture(ONE, torch.zeros(1), ONE)),
    ("positive definite", lambda: GaussianMixture(ONE, torch.zeros(1, 2), torch.zeros(1))),
    ("positive definite", lambda: GaussianMixture(ONE, torch.zeros(1, 2), torch.tensor([[[1.0, 2.0], [2.0, 1.0]]]))),
    ("symmetric", lambda: GaussianMixture(ONE, torch.zeros(1, 2), torch.tensor([[[1.0, 0.5], [0.0, 1.0]]]))),
    ("covariances must have shape", lambda: GaussianMixture(ONE, torch.zeros(1, 2), torch.ones(3))),
    ("labels must be integers >= 0", lambda: mixture([0, NULL])),
    (r"labels must be integers >= 0 of shape \(2,\)", lambda: mixture([0])),
]
GUIDANCE = [
    ("the guidance weight w must be a finite number, got nan", lambda: guided(exact(), math.nan)),
    ("the guidance weight w must be a finite number, got inf", lambda: guided(exact(), math.inf)),
    ("guidance needs a condition", lambda: guided(exact([0, 1]), 1.0)(X, 1)),
    ("guidance needs a condition", lambda: guided(exact([0, 1]), 0.0)(X, 1)),
    (r"cond must be an int or a LongTensor \(2,\)", lambda: guided(exact([0, 1]), 1.0)(X, 1, torch.tensor([1]))),
    ("t must lie in 1 .. 10, got 11", lambda: guided(exact([0, 1]), 1.0)(X, 11, torch.tensor([0, 1]))),
]
SAMPLERS = [
    ("t has 3 entries for a batch of 2", lambda: NetworkDenoiser(lambda x, t, cond: x, SCHEDULE)(X, torch.tensor([1, 2, 3]))),
    ("t has 3 entries for a batch of 2", lambda: guided(exact([0, 1]), 1.0)(X, torch.tensor([1, 2, 3]), 0)),
    ("steps must be a number of steps or pairs", lambda: final(ddim(exact(), X, SCHEDULE, steps=2.5))),
    ("steps must be a number of steps or pairs", lambda: final(ddpm(exact(), X, SCHEDULE, steps=[3, 2, 1]))),
    *((r"eta must lie in \[0, 1\], got " + str(eta), lambda eta=eta: final(ddim(exact(), X, SCHEDULE, steps=2, eta=eta)))
      for eta in (-0.1, 1.01, math.nan, math.inf)),
    ("variance must be 'small' or 'large', got 'learned'", lambda: final(ddpm(exact(), X, SCHEDULE, variance="learned"))),
    ("steps must be an int in 1 .. 10, got 11", lambda: final(ddim(exact(), X, SCHEDULE, steps=11))),
    ("steps must be an int in 1 .. 10, got 0", lambda: final(ddpm(exact(), X, SCHEDULE, steps=0))),
    ("spacing must be one of", lambda: final(ddim(exact(), X, SCHEDULE, steps=2, spacing="uneven"))),
    ("each s the next t", lambda: final(ddim(exact(), X, SCHEDULE, steps=[(10, 5), (4, 0)]))),
    ("10 >= t > s >= 0", lambda: final(ddim(exact(), X, SCHEDULE, steps=[(11, 0)]))),
    ("10 >= t > s >= 0", lambda: final(ddpm(exact(), X, SCHEDULE, steps=[(5, 5)]))),
    ("10 >= t > s >= 0", lambda: final(ddpm(exact(), X, SCHEDULE, steps=[(5, -1)]))),
    ("10 >= t > s >= 0", lambda: final(ddpm(exact(), X, SCHEDULE, steps=[]))),
    (r"x must have shape \(N, 3\)", lambda: final(ddpm(exact(), torch.zeros(2, 4), SCHEDULE))),
    ("the sampler made no step", lambda: final(iter([]))),
]
NETWORKS = [
    (r"x must be \(N, 1, H, W\), H and W multiples of 2, got \(2, 1, 7, 8\)", lambda: unet()(PICTURE[:, :, :7], TIME)),
    (r"multiples of 4, got \(2, 1, 6, 8\)", lambda: unet(patch=2)(PICTURE[:, :, :6], TIME)),
    (r"x must be \(N, 1, H, W\)", lambda: unet()(torch.zeros(2, 3, 8, 8), TIME)),
    (r"x must be \(N, 1, H, W\)", lambda: unet()(torch.zeros(1, 8, 8), TIME)),
    (r"t must have shape \(2,\), got \(3,\)", lambda: unet()(PICTURE, torch.zeros(3, dtype=torch.long))),
    (r"labels must lie in 0 .. 2, or be NULL = -1, got \[0, 3\]", lambda: unet()(PICTURE, TIME, torch.tensor([0, 3]))),
    (r"labels must lie in 0 .. 2, or be NULL = -1, got \[-2, 0\]", lambda: unet()(PICTURE, TIME, torch.tensor([-2, 0]))),
    (r"cond must be an int or a LongTensor \(2,\)", lambda: unet()(PICTURE, TIME, torch.tensor([0]))),
    ("this network has no labels", lambda: UNet(UNetConfig(channels=8, head_channels=8))(PICTURE, TIME, torch.tensor([0, 0]))),
    ("attention needs one entry for each of 2 levels", lambda: UNetConfig(attention=(True,))),
    ("12 channels divide neither into 8 groups", lambda: UNetConfig(channels=12)),
    ("heads of 24", lambda: UNetConfig(head_channels=24)),
]
EVALUATION = [
    (r"shape \(N, D\) with N >= 2, got \(1, 4\)", lambda: statistics(torch.zeros(1, 4))),
    (r"shape \(N, D\) with N >= 2, got \(4,\)", lambda: statistics(torch.zeros(4))),
    ("features have 3 and 4 dimensions", lambda: frechet(torch.randn(5, 3), torch.randn(5, 4))),
    ("more than k = 3 points, got 3 and 9", lambda: precision_recall(torch.randn(3, 2), torch.randn(9, 2))),
]
CASES = SCHEDULES + GAUSSIAN + DENOISERS + GUIDANCE + SAMPLERS + NETWORKS + EVALUATION


@pytest.mark.parametrize(("message", "call"), CASES, ids=[f"{k}: {message[:40]}" for k, (message, _) in enumerate(CASES)])
def test_refused(message, call):
    with pytest.raises(ValueError, match=message):
        call()
