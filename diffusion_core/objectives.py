"""What else a network can be trained on: a teacher's guidance, a teacher's several steps in one, its own variance.

Each is a function (denoiser, x0, t, eps, cond) -> scalar for `training.fit`, which draws t and eps and seeds torch's default generator
before each call; what an objective draws beside them comes from there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from .denoisers import Denoiser, NetworkDenoiser
from .gaussian import Prediction, like, q_sample
from .guidance import distilled, guided
from .likelihood import bits_per_dim, vlb_term
from .noisy_classifier import NoisyClassifier
from .schedules import Schedule
from .training import Objective, weighted_error


def draw_weights(n: int, w_max: float) -> Tensor:
    """n guidance weights in [0, w_max], (n,): the square of an even draw, so that half lie below a quarter of w_max, where they are used."""
    return w_max * torch.rand(n, generator=torch.default_generator) ** 2


def guidance_distillation(teacher: Denoiser, w_max: float) -> Objective:
    """The student, which takes w as an input, learns in one evaluation what the guided teacher says in two (Meng et al. 2023, stage one).

    The error is that of v, without a weight: SNR + 1 times that of x0.
    """

    def objective(student: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor) -> Tensor:
        x_t, w = q_sample(student.schedule, x0, t, eps), draw_weights(len(x0), w_max).to(x0.device)
        with torch.no_grad():
            target = guided(teacher, w)(x_t, t, cond).v
        return ((distilled(student, w)(x_t, t, cond).v - target) ** 2).mean()

    return objective


def progressive_distillation(teacher: NetworkDenoiser, steps: int, substeps: int, w_max: float) -> Objective:
    """The student learns to go in one step where the teacher goes in `substeps` steps of DDIM (Salimans & Ho 2022, algorithm 2).

    steps is the student's number of trailing steps; teacher and student both take w as an input, so that the student inherits guidance
    (Meng et al. 2023, stage two). The error is that of v. Raises ValueError if T does not divide into steps x substeps.
    """
    T = len(teacher.schedule)
    if T % (steps * substeps):
        raise ValueError(f"T = {T} does not divide into {steps} x {substeps} steps")
    stride = T // steps

    def objective(student: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor) -> Tensor:
        t = (t + stride - 1) // stride * stride  # the next time of the student's grid
        x_t, w = q_sample(student.schedule, x0, t, eps), draw_weights(len(x0), w_max).to(x0.device)
        with torch.no_grad():
            x, leaning = x_t, distilled(teacher, w)
            for k in range(substeps):
                now = leaning(x, t - k * stride // substeps, cond)
                x = ddim_step(now, teacher.schedule, t - (k + 1) * stride // substeps)
            target = one_step_target(teacher.schedule, x_t, x, t, t - stride)
        return ((distilled(student, w)(x_t, t, cond).v - target.v) ** 2).mean()

    return objective


def hybrid(gamma: float | None = 5.0, vlb_weight: float = 1e-3) -> Objective:
    """L_hybrid: the weighted loss plus vlb_weight times the variational bound, which teaches the variance only (Nichol & Dhariwal 2021, eq. 16).

    The bound is T times the term of the drawn t, in bits a dimension; its mean is held fixed, so that x0 is learned from the first part.
    """

    def objective(denoiser: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor | None) -> Tensor:
        schedule = denoiser.schedule
        prediction = denoiser(q_sample(schedule, x0, t, eps), t, cond)
        simple = weighted_error(prediction, schedule, denoiser.predicts, x0, t, eps, gamma)
        held = prediction.with_x0(prediction.x0.detach())
        bound = len(schedule) * bits_per_dim(vlb_term(held, schedule, x0, t, variance="learned"), x0).mean()
        return simple + vlb_weight * bound

    return objective


def classification(classifier: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor) -> Tensor:
    """Cross-entropy of a `NoisyClassifier` on noised pictures; `classifier` holds it as its net, beside the schedule."""
    return F.cross_entropy(classifier.net(q_sample(classifier.schedule, x0, t, eps), t.to(x0.device)), cond)


@torch.no_grad()
def noisy_accuracy(net: NoisyClassifier, schedule: Schedule, x0: Tensor, labels: Tensor, times: tuple[int, ...] = (1, 200, 400, 600, 800)) -> dict[int, float]:
    """Share of pictures x0 (N, ..) that the classifier of noised pictures gets right at each time; one seeded draw of noise for all."""
    eps = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0)).to(x0.device)
    right = {}
    for t in times:
        logits = net(q_sample(schedule, x0, t, eps), torch.full((len(x0),), t, device=x0.device))
        right[t] = round(float((logits.argmax(1).cpu() == labels).double().mean()), 4)
    return right


def ddim_step(prediction: Prediction, schedule: Schedule, s: Tensor) -> Tensor:
    """x_s of the deterministic DDIM step from the prediction's x_t: its x0 and its eps, mixed anew. s is a LongTensor (N,)."""
    return q_sample(schedule, prediction.x0, s, prediction.eps)


def one_step_target(schedule: Schedule, x_t: Tensor, x_s: Tensor, t: Tensor, s: Tensor) -> Prediction:
    """The prediction at t from which one DDIM step leads exactly to x_s (Salimans & Ho 2022, appendix G)."""
    a_t, a_s = schedule.at(t), schedule.at(s)
    ratio = ((1 - a_s) / (1 - a_t)).sqrt()
    x0 = (x_s - like(ratio, x_t) * x_t) / like(a_s.sqrt() - ratio * a_t.sqrt(), x_t)
    return Prediction(x_t, a_t, "x0", x0)
