"""Objectives that learn from a teacher or teach the variance, where the right answer is known."""

import math

import pytest
import torch
from torch import nn

from diffusion_core import GaussianMixture, NetworkDenoiser, Prediction, Schedule, distilled, final, ddim, guided, q_sample
from diffusion_core.likelihood import vlb_term
from diffusion_core.noisy_classifier import NoisyClassifier
from diffusion_core.objectives import (classification, ddim_step, draw_weights, guidance_distillation, hybrid, one_step_target,
                                       progressive_distillation)
from diffusion_core.training import loss
from diffusion_core.unet import UNetConfig

SCHEDULE = Schedule.cosine(40)


def draws(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x0, eps = torch.randn(n, 2, generator=generator), torch.randn(n, 2, generator=generator)
    return x0, torch.randint(1, 41, (n,), generator=generator), eps, torch.arange(n) % 2


def two_classes():
    gm = GaussianMixture(torch.ones(2), torch.tensor([[-1.0, 0.0], [1.0, 0.5]]), torch.tensor([0.1, 0.2]), torch.tensor([0, 1]))
    return gm.denoiser(SCHEDULE)


class Perfect:
    """A net that answers what a denoiser says, with w as an input; `off` is added to v."""

    def __init__(self, denoiser, off=0.0):
        self.denoiser, self.off = denoiser, off

    def __call__(self, x, t, cond, w):
        return guided(self.denoiser, w)(x, t + 1, cond).v + self.off


def test_draw_weights():
    torch.manual_seed(0)
    w = draw_weights(20_000, 8.0)
    assert w.min() >= 0 and w.max() <= 8 and w.median().item() == pytest.approx(2.0, rel=0.03)  # half below a quarter of the greatest


def test_guidance_distillation_vanishes_for_the_guided_teacher_alone():
    teacher = two_classes()
    objective = guidance_distillation(teacher, 8.0)
    assert objective(NetworkDenoiser(Perfect(teacher), SCHEDULE), *draws()).item() == pytest.approx(0, abs=1e-10)
    assert objective(NetworkDenoiser(Perfect(teacher, off=0.3), SCHEDULE), *draws()).item() == pytest.approx(0.09, rel=1e-4)
    conditional = NetworkDenoiser(lambda x, t, cond, w: teacher(x, t + 1, cond).v, SCHEDULE)
    assert objective(conditional, *draws()) > 1e-4


@pytest.mark.parametrize("s", [0, 7])
def test_one_step_target_is_where_a_step_leads(s):
    x_t, x_s = (torch.randn(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in (0, 1))
    t, s = torch.tensor([8, 20, 39, 40]), torch.full((4,), s)
    target = one_step_target(SCHEDULE, x_t, x_s, t, s)
    assert torch.allclose(ddim_step(target, SCHEDULE, s), x_s, atol=1e-9)


def test_ddim_step_is_the_sampler_s():
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    step = ddim_step(two_classes()(x, 30), SCHEDULE, torch.full((3,), 20))
    assert torch.allclose(step, final(ddim(two_classes(), x, SCHEDULE, steps=[(30, 20)])), atol=1e-6)


@pytest.mark.parametrize(("steps", "substeps"), [(4, 2), (2, 5), (8, 1)])
def test_a_progressive_student_that_jumps_as_far_has_no_loss(steps, substeps):
    """The student that goes the teacher's substeps one by one inside has nothing left to learn; one that stops short has."""
    teacher = NetworkDenoiser(Perfect(two_classes()), SCHEDULE)
    stride = 40 // steps

    class Student:
        def __init__(self, substeps):
            self.substeps = substeps

        def __call__(self, x, t, cond, w):
            t = t + 1
            assert set((t % stride).tolist()) == {0}  # only times of the student's grid are asked
            y = x
            for k in range(self.substeps):
                now = distilled(teacher, w)(y, t - k * stride // self.substeps, cond)
                y = ddim_step(now, SCHEDULE, t - (k + 1) * stride // self.substeps)
            return one_step_target(SCHEDULE, x, y, t, t - stride).v

    objective = progressive_distillation(teacher, steps, substeps, 4.0)
    values = []
    for k in (substeps, substeps + 3):
        torch.manual_seed(0)
        values.append(objective(NetworkDenoiser(Student(k), SCHEDULE), *draws(40)).item())
    assert values[0] == pytest.approx(0, abs=1e-9) and values[1] > 1e-6


def test_steps_that_do_not_divide_T_are_refused():
    with pytest.raises(ValueError, match="T = 40 does not divide into 3 x 2 steps"):
        progressive_distillation(NetworkDenoiser(Perfect(two_classes()), SCHEDULE), 3, 2, 1.0)


class Linear(nn.Module):
    """A net for pictures (N, 1, 2, 2): v and variance by one number each, so that gradients can be told apart."""

    def __init__(self):
        super().__init__()
        self.mean, self.variance = nn.Parameter(torch.tensor(0.3)), nn.Parameter(torch.tensor(0.1))

    def forward(self, x, t, cond):
        return torch.cat([self.mean * x, self.variance.expand(x.shape)], 1)


def picture_draws():
    generator = torch.Generator().manual_seed(0)
    x0, eps = torch.rand(8, 1, 2, 2, generator=generator) * 2 - 1, torch.randn(8, 1, 2, 2, generator=generator)
    return x0, torch.tensor([1, 2, 5, 10, 20, 30, 39, 40]), eps, None


def test_hybrid_teaches_the_mean_by_the_loss_and_the_variance_by_the_bound():
    net, given = Linear(), picture_draws()
    denoiser = NetworkDenoiser(net, SCHEDULE, "v")
    hybrid(gamma=5.0, vlb_weight=1.0)(denoiser, *given).backward()
    by_hybrid = net.mean.grad.item(), net.variance.grad.item()
    net.zero_grad()
    loss(denoiser, *given, gamma=5.0).backward()
    assert by_hybrid[0] == pytest.approx(net.mean.grad.item(), rel=1e-4) and net.variance.grad == 0
    net.zero_grad()
    x_t = q_sample(SCHEDULE, given[0], given[1], given[2])
    terms = vlb_term(denoiser(x_t, given[1]), SCHEDULE, given[0], given[1], variance="learned")
    (40 * terms.mean() / (4 * math.log(2))).backward()  # T times a term, in bits for each of 4 pixels
    assert by_hybrid[1] == pytest.approx(net.variance.grad.item(), rel=1e-4) and abs(by_hybrid[1]) > 1e-3


@pytest.mark.parametrize("predicts", ["eps", "x0", "v"])
def test_hybrid_without_the_bound_is_the_loss(predicts):
    denoiser, given = NetworkDenoiser(Linear(), SCHEDULE, predicts), picture_draws()
    ours = hybrid(gamma=5.0, vlb_weight=0.0)(denoiser, *given)
    assert ours.item() == pytest.approx(loss(denoiser, *given, gamma=5.0).item(), rel=1e-4)


def test_classification_is_cross_entropy_at_x_t():
    seen = []

    def net(x_t, t):
        seen.append((x_t, t))
        return torch.zeros(len(x_t), 10)

    x0, t, eps, _ = picture_draws()
    value = classification(NetworkDenoiser(net, SCHEDULE), x0, t, eps, torch.arange(8))
    assert value.item() == pytest.approx(math.log(10), rel=1e-6)
    assert torch.equal(seen[0][0], q_sample(SCHEDULE, x0, t, eps)) and torch.equal(seen[0][1], t)


def test_noisy_classifier_sees_picture_and_time():
    torch.manual_seed(0)
    net = NoisyClassifier(UNetConfig(patch=2, channels=8, groups=4, head_channels=8, classes=3)).eval()
    for p in net.parameters():
        nn.init.normal_(p, std=0.2)
    x, t = torch.randn(2, 1, 28, 28), torch.tensor([1, 1000])
    assert net(x, t).shape == (2, 3)
    assert (net(x, t) - net(x, t.flip(0))).abs().max() > 1e-3 and (net(x, t) - net(x + 1, t)).abs().max() > 1e-3
    with pytest.raises(ValueError, match="needs classes"):
        NoisyClassifier(UNetConfig())


def test_a_prediction_keeps_its_variance_when_its_x0_changes():
    x = torch.zeros(1, 1, 2, 2)
    p = Prediction(x, SCHEDULE.at(3), "x0", x + 3, fraction=x + 0.5)
    assert torch.equal(p.clamp(1.0).fraction, p.fraction) and torch.equal(p.with_x0(x).x0, x)
