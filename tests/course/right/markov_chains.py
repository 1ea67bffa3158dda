"""Right answers of section 2.1, written in other ways than the book's."""

import math

import torch


# markov-exact

def from_the_bias(case):
    """Langevin settles at v / (1 - h / 2v): take the factor off the noise."""
    return lambda h: math.sqrt(2 * h) * math.sqrt(1 - h / (2 * case.v))


def as_a_cosine(case):
    return lambda h: math.sqrt(case.v) * math.sin(math.acos(1 - h / case.v))


# markov-kernel

def step_by_step(case):
    """One step back at a time, each with the distribution of its own time."""
    def reverse_kernel(p, P):
        R = torch.eye(len(p), dtype=p.dtype)
        for _ in range(case.lag):
            back = torch.full_like(P, 1 / len(p))
            after = p @ P
            for j in range(len(p)):
                if after[j] > 0:
                    back[j] = p * P[:, j] / after[j]
            R, p = back @ R, after
        return R
    return reverse_kernel


def by_logarithms(case):
    def reverse_kernel(p, P):
        for_all = P
        for _ in range(case.lag - 1):
            for_all = for_all @ P
        log_joint = for_all.T.log() + p.log()
        return torch.where(torch.isinf(log_joint).all(1, keepdim=True), torch.full_like(P, 1 / len(p)), log_joint.softmax(1))
    return reverse_kernel


# markov-bugs

def by_torch_normal(case):
    def ends(beta):
        keeps, kicks = ((1 - beta), (1 - beta), (1 - beta) ** 2), (beta**2, beta, beta)
        return [case.v * kick / (1 - keep) for keep, kick in zip(keeps, kicks, strict=True)]
    return {"step": lambda y, beta, g: torch.normal((1 - beta) ** 0.5 * y, (case.v * beta) ** 0.5, generator=g), "ends": ends}


def from_uniform_draws(case):
    """Box and Muller's normal numbers; the ends by many steps of the variance."""
    def step(y, beta, g):
        radius, angle = torch.rand(2, len(y), dtype=torch.float64, generator=g)
        eps = (-2 * (1 - radius).log()).sqrt() * torch.cos(2 * math.pi * angle)
        return math.cos(math.asin(math.sqrt(beta))) * y + eps * math.sqrt(beta * case.v)

    def ends(beta):
        variances = torch.ones(3, dtype=torch.float64)
        keeps = torch.tensor([1 - beta, 1 - beta, (1 - beta) ** 2], dtype=torch.float64)
        kicks = case.v * torch.tensor([beta**2, beta, beta], dtype=torch.float64)
        for _ in range(2000):
            variances = keeps * variances + kicks
        return tuple(variances.tolist())
    return {"step": step, "ends": ends}


# markov-palindrome

def coin_toss(case):
    times = case.ratio or 1

    def undo(P1, P2):
        back = P1
        for _ in range(times):
            back = P2 @ back
        return back
    return {"combine": lambda P1, P2: P1 / (1 + times) + P2 * (times / (1 + times)), "undo": undo}


def forwards_or_backwards(case):
    """The mean of a sequence and its reverse; pi by solving for it, and then Bayes' rule."""
    def sequence(P1, P2):
        return P1 @ torch.linalg.matrix_power(P2, case.ratio or 1)

    def undo(P1, P2):
        toss, size = (P1 + P2) / 2, len(P1)
        equations = torch.cat([toss.T - torch.eye(size, dtype=P1.dtype), torch.ones(1, size, dtype=P1.dtype)])
        pi = torch.linalg.lstsq(equations, torch.eye(size + 1, dtype=P1.dtype)[:, -1:]).solution[:, 0]
        return sequence(P1, P2).T * pi / pi[:, None]
    return {"combine": lambda P1, P2: (sequence(P1, P2) + torch.linalg.matrix_power(P2, case.ratio or 1) @ P1) / 2, "undo": undo}


RIGHT = {
    "markov-exact": [from_the_bias, as_a_cosine],
    "markov-kernel": [step_by_step, by_logarithms],
    "markov-bugs": [by_torch_normal, from_uniform_draws],
    "markov-palindrome": [coin_toss, forwards_or_backwards],
}
