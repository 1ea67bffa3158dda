"""Right answers of section 4.2, written in other ways than the book's."""

import math

import torch
from torch.distributions import Normal, kl_divergence

from diffusion_core import Prediction, Schedule

cosine = Schedule.cosine(1000)


# step_kl


def by_torch_distributions(case):
    def step_kl(schedule, x0, x_t, x0_hat, t, variance):
        k2, noise_s, noise_t = schedule.alpha_bar[t] / schedule.alpha_bar[t - 1], 1 - schedule.alpha_bar[t - 1], 1 - schedule.alpha_bar[t]
        small = noise_s / noise_t * (1 - k2)
        used = small if variance == "small" else torch.exp(case.fraction * (1 - k2).log() + (1 - case.fraction) * small.log())
        mean = lambda clean: schedule.alpha_bar[t - 1].sqrt() * (1 - k2) / noise_t * clean + k2.sqrt() * noise_s / noise_t * x_t
        return kl_divergence(Normal(mean(x0), small.sqrt()), Normal(mean(x0_hat), used.sqrt()))
    return step_kl


def by_signal_to_noise(case):
    def step_kl(schedule, x0, x_t, x0_hat, t, variance):
        gain = float(schedule.snr(t - 1) - schedule.snr(t))
        shrunk = float((1 - schedule.alpha_bar[t - 1]) / (1 - schedule.alpha_bar[t]))              # beta-tilde over beta
        ratio = shrunk ** (case.fraction if variance == "large" else 0)                           # beta-tilde over what is used
        return 0.5 * (ratio * gain * (x0 - x0_hat).square() + ratio - 1 - math.log(ratio))
    return step_kl


# weight


def corner(case, snr, gamma):
    if case.p == math.inf:
        return torch.where(snr < gamma, snr, torch.full_like(snr, gamma))
    return gamma * snr / (gamma**case.p + snr**case.p) ** (1 / case.p)


def by_angles(case):
    def weight(kind, snr, gamma):
        angle = torch.atan2(torch.ones_like(snr), snr.sqrt())                      # alpha is its cosine, sigma its sine
        alpha, sigma = angle.cos(), angle.sin()
        worth = {"x0": 1.0, "eps": sigma / alpha, "v": sigma, "u": sigma / (alpha + sigma)}[kind]      # of a unit error, in x0
        return corner(case, snr, gamma) * worth**2
    return weight


def by_a_unit_error(case):
    def weight(kind, snr, gamma):
        here, there = (Prediction(0 * snr, snr / (1 + snr), "x0", 0 * snr + value) for value in (0.0, 1.0))
        told = {"u": lambda p: p.eps - p.x0}.get(kind, lambda p: getattr(p, kind))
        return corner(case, snr, gamma) / (told(there) - told(here)) ** 2
    return weight


# our_precondition


def by_an_angle(case):
    def our_precondition(alpha, sigma, sd):
        signal, noise = alpha * sd, sigma * math.sqrt(case.tau)
        angle, total = math.atan2(noise, signal), math.hypot(signal, noise)
        return sd / total * math.cos(angle), sd * math.sin(angle), 1 / total
    return our_precondition


def by_three_points_of_the_parabola(case):
    def our_precondition(alpha, sigma, sd):
        need = lambda c: (1 - c * alpha) ** 2 * sd**2 + c**2 * sigma**2 * case.tau
        low, middle, high = need(-1), need(0), need(1)
        bend, tilt = (low + high) / 2 - middle, (high - low) / 2
        skip = -tilt / (2 * bend)
        return torch.tensor([skip, math.sqrt(need(skip)), (alpha**2 * sd**2 + sigma**2 * case.tau) ** -0.5], dtype=torch.float64).tolist()
    return our_precondition


# signed_minimum


def difference(case, mixture, x, t, y, w):
    p_y, p = mixture.log_prob(cosine, x, t, y).exp(), mixture.log_prob(cosine, x, t).exp()
    return (1 + w - w * case.share) * p_y - w * (1 - case.share) * p


def by_the_gradient(case):
    def signed_minimum(mixture, x, t, y, w):
        x = x.clone().requires_grad_()
        m = difference(case, mixture, x, t, y, w)
        (score,) = torch.autograd.grad(m.abs().log().sum(), x)
        return -(1 - cosine.alpha_bar[t]).sqrt() * score[:, 0], m > 0
    return signed_minimum


def by_three_values_of_the_loss(case):
    """The loss at f = -1, 0, 1 gives its parabola."""
    def signed_minimum(mixture, x, t, y, w):
        p_y, p = mixture.log_prob(cosine, x, t, y).exp(), mixture.log_prob(cosine, x, t).exp()
        told, free = (-(1 - cosine.alpha_bar[t]).sqrt() * mixture.score(cosine, x, t, cond)[:, 0] for cond in (y, None))
        loss = lambda f: (1 + w) * p_y * (told - f) ** 2 - w * (case.share * p_y * (told - f) ** 2 + (1 - case.share) * p * (free - f) ** 2)
        bend, tilt = (loss(1) + loss(-1)) / 2 - loss(0), (loss(1) - loss(-1)) / 2
        return -tilt / (2 * bend), bend > 0
    return signed_minimum


RIGHT = {
    "objectives-vlb": [by_torch_distributions, by_signal_to_noise],
    "objectives-weights": [by_angles, by_a_unit_error],
    "objectives-edm": [by_an_angle, by_three_points_of_the_parabola],
    "objectives-signed": [by_the_gradient, by_three_values_of_the_loss],
}
