"""Checks of the equations of notebook 2.3, on tables small enough to add up every picture."""

import itertools
import math

import pytest
import torch
from bindings import checks

from diffusion_core import Prediction, Schedule, vlb_terms
from diffusion_core.denoisers import FunctionDenoiser

K, D = 3, 3  # levels and pixels; the mark of a hidden pixel is K
PICTURES = list(itertools.product(range(K), repeat=D))
STATES = list(itertools.product(range(K + 1), repeat=D))  # with hidden pixels


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_joint(seed=0):
    """Probabilities of all pictures, {picture: p}."""
    p = (1.5 * torch.randn(len(PICTURES), generator=seeded(seed), dtype=torch.float64)).softmax(0)
    return dict(zip(PICTURES, p.tolist(), strict=True))


def exact_conditionals(joint):
    """(state, i) -> probabilities (K,) of pixel i given the shown pixels, by adding up the joint."""
    def conditional(state, i):
        fits = [x for x in PICTURES if all(s in (K, v) for s, v in zip(state, x, strict=True))]
        p = torch.tensor([sum(joint[x] for x in fits if x[i] == k) for k in range(K)], dtype=torch.float64)
        return p / p.sum()
    return conditional


def any_conditionals(seed=1):
    """(state, i) -> probabilities (K,): an arbitrary table, as a network that was never trained would give."""
    generator, table = seeded(seed), {}
    for state in STATES:
        for i in range(D):
            table[state, i] = torch.randn(K, generator=generator, dtype=torch.float64).softmax(0)
    return lambda state, i: table[state, i]


def show(x, shown):
    return tuple(v if i in shown else K for i, v in enumerate(x))


def log_in_order(conditional, x, order):
    """log p(x) pixel by pixel."""
    return sum(float(conditional(show(x, order[:k]), i)[x[i]].log()) for k, i in enumerate(order))


@checks("eq-ar-chain")
@pytest.mark.parametrize("order", list(itertools.permutations(range(D))))
def test_the_chain_rule_gives_the_joint_in_every_order(order):
    joint = random_joint()
    conditional = exact_conditionals(joint)
    for x, p in joint.items():
        assert log_in_order(conditional, x, order) == pytest.approx(math.log(p), abs=1e-12)
    arbitrary = any_conditionals()
    assert sum(math.exp(log_in_order(arbitrary, x, order)) for x in PICTURES) == pytest.approx(1, abs=1e-12)


def kl(p, q):
    return float((torch.xlogy(p, p) - torch.xlogy(p, q)).sum())


@checks("eq-ar-mask-chain")
def test_the_bound_of_the_masking_chain_is_the_autoregressive_likelihood():
    """The general bound of a Markov chain on 64 states, from transition matrices and Bayes' rule; nothing in it knows of autoregression."""
    conditional, index = any_conditionals(), {state: n for n, state in enumerate(STATES)}
    forward, backward = [], []
    for t in range(1, D + 1):
        step, back = torch.zeros(2, len(STATES), len(STATES), dtype=torch.float64)
        for state in STATES:
            step[index[state], index[tuple(K if i == t - 1 else v for i, v in enumerate(state))]] = 1
            p = conditional(state, t - 1)
            for k in range(K):
                back[index[state], index[tuple(k if i == t - 1 else v for i, v in enumerate(state))]] += p[k]
        forward.append(step)
        backward.append(back)
    blank = index[(K,) * D]
    # p(x0) by the product of the reverse matrices from the blank picture
    marginal = torch.zeros(len(STATES), dtype=torch.float64)
    marginal[blank] = 1
    for back in reversed(backward):
        marginal = marginal @ back
    for x in PICTURES:
        q = [torch.eye(len(STATES), dtype=torch.float64)[index[x]]]
        for step in forward:
            q.append(q[-1] @ step)
        bound = -kl(q[D], torch.eye(len(STATES), dtype=torch.float64)[blank])  # L_T
        for t in range(D, 0, -1):
            for state in range(len(STATES)):
                if q[t][state] > 0:
                    posterior = q[t - 1] * forward[t - 1][:, state]
                    bound -= float(q[t][state]) * kl(posterior / posterior.sum(), backward[t - 1][state])
        ours = sum(float(conditional(show(x, range(t, D)), t - 1)[x[t - 1]].log()) for t in range(1, D + 1))
        assert bound == pytest.approx(ours, abs=1e-12) and math.log(float(marginal[index[x]])) == pytest.approx(ours, abs=1e-12)


def absorbing_formula(conditional, x, T):
    """The right side of eq-ar-absorbing: masks by their number of hidden pixels."""
    total = 0.0
    for t in range(1, T + 1):
        for hidden in itertools.product((False, True), repeat=D):
            m = sum(hidden)
            weight = (t / T) ** m * (1 - t / T) ** (D - m)
            state = tuple(K if h else v for h, v in zip(hidden, x, strict=True))
            total += weight / t * sum(float(conditional(state, i)[x[i]].log()) for i in range(D) if hidden[i])
    return total


@checks("eq-ar-absorbing")
@pytest.mark.parametrize("T", [1, 2, 4])
def test_the_bound_of_absorbing_diffusion_is_a_weighted_cross_entropy(T):
    """Against the general bound of a chain, by its joint over states: q's step hides with probability 1 / (T - t + 1), p's reveals independently."""
    conditional = any_conditionals()

    def q_step(a, b, t):  # q(x_t = b | x_{t-1} = a)
        beta = 1 / (T - t + 1)
        return math.prod(1.0 * (v == K) if u == K else beta if v == K else (1 - beta) * (u == v) for u, v in zip(a, b, strict=True))

    def p_step(b, a, t):  # p(x_{t-1} = a | x_t = b)
        stay = (t - 1) / t
        return math.prod(1.0 * (u == v) if v != K else stay if u == K else (1 - stay) * float(conditional(b, i)[u])
                         for i, (u, v) in enumerate(zip(a, b, strict=True)))

    for x in PICTURES[::5]:
        q, bound = {x: 1.0}, 0.0
        for t in range(1, T + 1):
            ahead, pairs = {}, {}
            for a, p in q.items():
                for b in STATES:
                    if (w := p * q_step(a, b, t)) > 0:
                        pairs[a, b] = w
                        ahead[b] = ahead.get(b, 0.0) + w
            bound += sum(w * (math.log(p_step(b, a, t)) - math.log(w / ahead[b])) for (a, b), w in pairs.items())  # minus a KL
            q = ahead
        assert q == {(K,) * D: pytest.approx(1)}  # so L_T = 0
        assert bound == pytest.approx(absorbing_formula(conditional, x, T), abs=1e-12)


@checks("eq-ar-any-order")
def test_the_mean_over_orders_is_a_mean_over_masks_and_the_limit_of_many_steps():
    conditional = any_conditionals()
    for x in PICTURES[::4]:
        orders = [log_in_order(conditional, x, order) for order in itertools.permutations(range(D))]
        by_mask = 0.0
        for m in range(1, D + 1):
            masks = list(itertools.combinations(range(D), m))
            mean = sum(sum(float(conditional(show(x, set(range(D)) - set(mask)), i)[x[i]].log()) for i in mask) / m for mask in masks) / len(masks)
            by_mask += D * mean / D
        mean = sum(orders) / len(orders)
        assert by_mask == pytest.approx(mean, abs=1e-12)
        errors = [abs(absorbing_formula(conditional, x, T) - mean) for T in (50, 100)]
        assert errors[1] < 0.03 and errors[1] == pytest.approx(errors[0] / 2, rel=0.05)  # first order in 1 / T


@checks("eq-ar-mixture")
def test_the_mean_over_orders_lies_below_the_mixture_and_touches_it_for_exact_conditionals():
    def both(conditional, x):
        orders = torch.tensor([log_in_order(conditional, x, order) for order in itertools.permutations(range(D))], dtype=torch.float64)
        return float(orders.mean()), float(orders.logsumexp(0) - math.log(len(orders)))

    arbitrary, exact = any_conditionals(), exact_conditionals(random_joint())
    gaps = [b - a for a, b in (both(arbitrary, x) for x in PICTURES)]
    assert min(gaps) > 1e-3
    assert sum(math.exp(both(arbitrary, x)[1]) for x in PICTURES) == pytest.approx(1, abs=1e-12)  # the mixture is a distribution
    assert sum(math.exp(both(arbitrary, x)[0]) for x in PICTURES) < 0.97  # what the bound gives is none
    assert max(abs(b - a) for a, b in (both(exact, x) for x in PICTURES)) < 1e-12


def entropy(p):
    return -float(torch.xlogy(p, p).sum())


@checks("eq-ar-parallel")
def test_predicting_together_costs_the_total_correlation():
    """Two pixels together, given a third: the cost as a mean of log probabilities over the joint, the other side from entropies of marginals."""
    joint = random_joint(3)
    conditional = exact_conditionals(joint)
    one_by_one, together = sum(p * log_in_order(conditional, x, (0, 1, 2)) for x, p in joint.items()), 0.0
    for x, p in joint.items():
        first = float(conditional((K,) * D, 0)[x[0]].log())
        state = show(x, (0,))
        together += p * (first + float(conditional(state, 1)[x[1]].log()) + float(conditional(state, 2)[x[2]].log()))
    table = torch.tensor([joint[x] for x in PICTURES], dtype=torch.float64).reshape(K, K, K)
    first = entropy(table.sum((1, 2)))
    correlation = (entropy(table.sum(2).flatten()) - first) + (entropy(table.sum(1).flatten()) - first) - (entropy(table.flatten()) - first)
    assert one_by_one - together == pytest.approx(correlation, abs=1e-12) and correlation > 0.01


@checks("eq-ar-label")
def test_a_label_saves_its_information_which_is_at_most_its_entropy():
    generator = seeded(4)
    joint = (2 * torch.randn(4, len(PICTURES), generator=generator, dtype=torch.float64)).flatten().softmax(0).reshape(4, -1)  # p(y, x)
    p_y, p_x = joint.sum(1), joint.sum(0)
    saved = float((joint * ((joint / p_y[:, None]).log() - p_x.log())).sum())
    posterior = joint / p_x
    information = entropy(p_y) + float((joint * posterior.log()).sum())  # H(y) - H(y | x), by the other conditional
    assert saved == pytest.approx(information, abs=1e-12) and 0.1 < saved < entropy(p_y) <= math.log(4)
    told = torch.eye(4, dtype=torch.float64)[:, torch.arange(len(PICTURES)) % 4] * p_x  # a label that the picture determines
    assert float((torch.xlogy(told, told / told.sum(1, keepdim=True)) - torch.xlogy(told, p_x)).sum()) == pytest.approx(entropy(told.sum(1)), abs=1e-12)


@checks("eq-ar-patch")
def test_the_bound_over_patches_lies_above_and_comes_down_to_the_exact_likelihood():
    """Two "patches" of one number: a ~ N(0, 1), b | a ~ N(a / 2, .3). The exact denoiser of each given those before, bounds by the core's `vlb_terms`."""
    n, gaps, generator = 20_000, [], seeded(5)
    a, noise = torch.randn(2, n, 1, dtype=torch.float64, generator=generator)
    b = a / 2 + 0.3**0.5 * noise
    exact = -torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.tensor([[1, 0.5], [0.5, 0.55]]).double()).log_prob(torch.cat([a, b], 1))
    for T in (20, 80):
        schedule = Schedule.linear(T)

        def told(mean, variance, schedule=schedule):
            """The exact denoiser of N(mean, variance), mean being the code."""
            def predict(x_t, t, cond):
                alpha_bar = schedule.at(t)
                gain = variance * alpha_bar.sqrt() / (variance * alpha_bar + 1 - alpha_bar)
                return Prediction(x_t, alpha_bar, "x0", mean + gain * (x_t - alpha_bar.sqrt() * mean))
            return FunctionDenoiser(schedule, predict)

        total = 0.0
        for patch, denoiser in ((a, told(0 * a, 1.0)), (b, told(a / 2, 0.3))):
            prior, terms, decoder = vlb_terms(denoiser, schedule, patch, variance="large", bins=None, generator=generator)
            total += float((prior + terms.sum(1) + decoder).mean())
        gaps.append(total - float(exact.mean()))
    assert gaps[0] > 2 * gaps[1] > 0 and gaps[1] < 0.05
