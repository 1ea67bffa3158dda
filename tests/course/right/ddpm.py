"""Right answers of section 3.1, written in other ways than the book's."""

import math

import torch

from diffusion_core import Schedule, ddim, ddpm, final, timesteps

linear = Schedule.linear(1000)


# Another T

def by_walking(case):
    def amplitude_left(T, start, end):
        left = 1.0
        for k in range(T):
            left *= math.sqrt(1 - start - (end - start) * k / (T - 1))
        return left

    def short_betas(T):
        if case.digits is None:
            return Schedule.cosine(T).betas[1:]
        table = torch.logspace(0, -case.digits, T + 1, dtype=torch.float64)
        return 1 - table[1:] / table[:-1]
    return {"amplitude_left": amplitude_left, "short_betas": short_betas}


def by_the_table(case):
    def amplitude_left(T, start, end):
        return Schedule.linear(T, start, end).alpha_bar[-1].log().div(2).exp()

    def short_betas(T):
        if case.digits is None:
            return Schedule(linear.alpha_bar[:: 1000 // T]).betas[1:]        # every so many steps of the thousand become one
        return -torch.expm1(torch.full((T,), -case.digits * math.log(10) / T, dtype=torch.float64))
    return {"amplitude_left": amplitude_left, "short_betas": short_betas}


# Detours

def law(case, t):
    a = linear.alpha_bar[t]
    return (a.sqrt(), 1 - a) if case.tau is None else (torch.ones(()), case.tau * (1 / a - 1))


def by_precisions(case):
    """Bayes' rule: what x_t says about x_s is N(x_t / factor, added / factor^2), and precisions add up."""
    def coefficients(t, s):
        (scale_t, var_t), (scale_s, var_s) = law(case, t), law(case, s)
        if s == 0:
            return 1.0, 0.0, 0.0
        factor = scale_t / scale_s
        added = var_t - factor**2 * var_s
        precision = 1 / var_s + factor**2 / added
        return float(scale_s / var_s / precision), float(factor / added / precision), float(1 / precision)

    def compose(first, second):
        """Affine maps of (x0, x_t) and their noise as matrices that multiply."""
        (A1, B1, v1), (A2, B2, v2) = first, second
        one, two = (torch.tensor([[1.0, 0.0], [A, B]], dtype=torch.float64) for A, B in ((A1, B1), (A2, B2)))
        A, B = (two @ one)[1].tolist()
        return A, B, (torch.tensor([B2, 1.0], dtype=torch.float64) ** 2 @ torch.tensor([v1, v2], dtype=torch.float64)).item()
    return {"coefficients": coefficients, "compose": compose}


def by_ratios(case):
    """In units of x0 all laws are N(x0, r): the share r_s / r_t of the way is made towards x_t."""
    def coefficients(t, s):
        (scale_t, var_t), (scale_s, var_s) = law(case, t), law(case, s)
        r_t, r_s = var_t / scale_t**2, var_s / scale_s**2
        share = r_s / r_t
        return scale_s * (1 - share), scale_s / scale_t * share, scale_s**2 * r_s * (1 - share)

    def compose(first, second):
        mean = lambda x0, x: second[0] * x0 + second[1] * (first[0] * x0 + first[1] * x)
        spread = sum(part**2 for part in (second[1] * math.sqrt(first[2]), math.sqrt(second[2])))
        return mean(1.0, 0.0), mean(0.0, 1.0), spread
    return {"coefficients": coefficients, "compose": compose}


# A sample

def by_hand(case):
    def restored(denoiser, x_t, t):
        prediction, a = denoiser(x_t, t), denoiser.schedule.alpha_bar[t]
        return (x_t - (1 - a).sqrt() * prediction.eps) / a.sqrt()

    def drawn(denoiser, x_t, t, generator):
        a = denoiser.schedule.alpha_bar
        x = x_t.repeat(case.draws, *(1,) * (x_t.dim() - 1))
        for u in range(t, 0, -1):
            beta = 1 - a[u] / a[u - 1]
            x = (x - beta / (1 - a[u]).sqrt() * denoiser(x, u).eps) / (1 - beta).sqrt()
            if u > 1:
                x = x + (beta * (1 - a[u - 1]) / (1 - a[u])).sqrt() * torch.randn(x.shape, dtype=x.dtype, generator=generator)
        return x.reshape(case.draws, *x_t.shape).mean(0)
    return {"restored": restored, "drawn": drawn}


def with_large_variance(case):
    """The last step of the sampler ends at x0-hat; noise of the fixed-large variance is as good in short steps."""
    def restored(denoiser, x_t, t):
        return final(ddpm(denoiser, x_t, denoiser.schedule, steps=[(t, 0)]))

    def drawn(denoiser, x_t, t, generator):
        steps = [(u, u - 1) for u in range(t, 0, -1)]
        walks = [final(ddpm(denoiser, x_t, denoiser.schedule, steps=steps, variance="large", generator=generator)) for _ in range(case.draws)]
        return sum(walks) / case.draws
    return {"restored": restored, "drawn": drawn}


def as_ddim(case):
    """Ancestral sampling is DDIM with eta = 1."""
    def drawn(denoiser, x_t, t, generator):
        steps = [(u, u - 1) for u in range(t, 0, -1)]
        walk = lambda: final(ddim(denoiser, x_t, denoiser.schedule, steps=steps, eta=1.0, generator=generator))
        return torch.stack([walk() for _ in range(case.draws)]).mean(0)
    return {"restored": lambda denoiser, x_t, t: denoiser(x_t, t).x0, "drawn": drawn}


# The bug zoo

def counted_from_zero(case):
    """The table of the code in the statement, with times from 0; -1 is the clean entry."""
    def mended(denoiser, x, schedule, n, generator, clean_entry=True, root=True, guard=True):
        table = schedule.alpha_bar[1:]
        times = [t - 1 for t, _ in timesteps(len(schedule), n)]
        for t, s in zip(times, times[1:] + [-1]):
            a_t = table[t]
            a_s = torch.ones_like(a_t) if s < 0 and clean_entry else table[s]
            beta = 1 - a_t / a_s
            tilde = beta * (1 - a_s) / (1 - a_t)
            variance = torch.lerp(beta, tilde, case.share)
            eps = denoiser(x, t + 1).eps
            x0 = (x - (1 - a_t).sqrt() * eps) / a_t.sqrt()
            mean = a_s.sqrt() * beta / (1 - a_t) * x0 + (a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t) * x
            if s >= 0 or not guard:
                mean = mean + (variance**0.5 if root else variance) * torch.randn(x.shape, dtype=x.dtype, generator=generator)
            x = mean
        return x
    return mended


def from_the_noise(case):
    """The mean of a step as sqrt(alpha_bar_s) x0-hat + the rest of the noise; torch.where in place of branches."""
    def mended(denoiser, x, schedule, n, generator, clean_entry=True, root=True, guard=True):
        a = schedule.alpha_bar.clone()
        for t, s in timesteps(len(schedule), n):
            a_s = a[-1] if (s == 0 and not clean_entry) else a[s]
            says = denoiser(x, t)
            keeps = a[t] / a_s
            mean = a_s.sqrt() * says.x0 + keeps.sqrt() * (1 - a_s) / (1 - a[t]).sqrt() * says.eps
            variance = (1 - keeps) * (1 - case.share * (1 - (1 - a_s) / (1 - a[t])))
            z = torch.randn(x.shape, dtype=x.dtype, generator=generator) * float(s > 0 or not guard)
            x = mean + z * (variance.abs().sqrt() if root else variance)
        return x
    return mended


RIGHT = {"ddpm-betas": [by_walking, by_the_table], "ddpm-posterior": [by_precisions, by_ratios],
         "ddpm-sample": [by_hand, with_large_variance, as_ddim], "ddpm-bugs": [counted_from_zero, from_the_noise]}
