"""Graders of section 2.1, Markov chains and diffusion."""

import math

import torch

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, generator):
    return torch.randn(*shape, dtype=torch.float64, generator=generator)
"""


# Langevin's chain with the noise that leaves no bias

exact = Task(
    "markov-exact",
    ("noise_scale",),
    minutes=8,
    difficulty=1,
    example="noise_scale(0.1)",
    vary={"v": (1, 0.5, 2, 4)},
    twist="The target of your version is $\\mathcal N(0, {v})$. Its score is $-x / {v}$, so Langevin's chain is "
          "$x' = (1 - h / {v})\\, x + \\sqrt{{2h}}\\, z$. "
          "Keep $1 - h / {v}$, and make $\\mathcal N(0, {v})$ stationary exactly, for every $0 < h < {v}$.",
)


def scale(answers, h):
    c = number(answers.noise_scale(h))
    assert c > 0, f"h = {h:.3g}: the scale of the noise is {c:.3g}"
    return c


def sizes(case, stream=0):
    return [case.v * share for share in (0.5, 0.9, 0.1, 0.001, *case.uniform(3, low=0.05, high=0.95, stream=stream).tolist())]


@exact.part(1, "for small h the noise is Langevin's")
def langevins(answers, case):
    for h in (1e-4 * case.v, 1e-5 * case.v):
        ratio = scale(answers, h) ** 2 / (2 * h)
        assert close(ratio, 1, 1e-3), f"h = {h:.1g}: the variance of the noise is {ratio:.4g} times 2h"


@exact.part(1, "the wanted variance is kept, for every h")
def kept(answers, case):
    for h in sizes(case):
        after = (1 - h / case.v) ** 2 * case.v + scale(answers, h) ** 2
        assert close(after, case.v), f"h = {h:.3g}: one step takes variance {case.v:g} to {after:.4g}"


@exact.part(1, "two steps in a row are one step of another size")
def composed(answers, case):
    for one, two in zip(sizes(case, 1), sizes(case, 2)[::-1], strict=True):
        keep_one, keep_two = 1 - one / case.v, 1 - two / case.v
        both = keep_two**2 * scale(answers, one) ** 2 + scale(answers, two) ** 2
        merged = scale(answers, case.v * (1 - keep_one * keep_two)) ** 2
        assert close(both, merged), (
            f"steps h = {one:.3g} and {two:.3g} add noise of variance {both:.4g}; the one step that keeps as much of x, {merged:.4g}")


@exact.mistake("This is Langevin's own scale. It is right for small h only: work out the variance after one step.")
def unchanged(case):
    return lambda h: math.sqrt(2 * h)


@exact.mistake("This is the variance of the noise. The noise z has variance 1 and is multiplied by the scale, which is its square root.")
def no_root(case):
    return lambda h: 2 * h - h**2 / case.v


@exact.mistake("A variance is multiplied by the square of what multiplies x.")
def not_squared(case):
    return lambda h: math.sqrt(h)


@exact.mistake("The two weights must not add up to 1: variances of independent things add, so it is about the squares of the weights.")
def weights_add(case):
    return lambda h: math.sqrt(case.v) * (h / case.v)


@exact.mistake("Langevin's chain settles too wide. Its noise has to be made weaker, not stronger.")
def wrong_way(case):
    return lambda h: math.sqrt(2 * h / (1 - h / (2 * case.v)))


@exact.mistake("The bias of Langevin's chain is a factor of the variance; here the scale was divided by all of it.")
def twice_mended(case):
    return lambda h: math.sqrt(2 * h) * (1 - h / (2 * case.v))


# The backward matrix

kernel = Task(
    "markov-kernel",
    ("reverse_kernel",),
    minutes=15,
    difficulty=2,
    example="reverse_kernel(torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([[0.9, 0.1], [0.4, 0.6]], dtype=torch.float64))",
    vary={"lag": (1, 2, 3, 4)},
    twist="In your version the film was cut: only one frame in {lag} is left. `p` is the distribution of the state in one of these frames, and "
          "{lag} steps of `P` lie between it and the next one that is left. `R[j, i]` is the probability that the state was `i` in the earlier of "
          "two such frames, given that it is `j` in the later one.",
)


def chain(case, size, stream):
    """A distribution and a matrix of a chain."""
    return case.normal(size, stream=stream).softmax(0), (2 * case.normal(size, size, stream=stream + 1)).softmax(1)


def reversed_(answers, p, P):
    return tensor(answers.reverse_kernel(p, P), len(p), len(p))


def powered(P, case):
    return torch.linalg.matrix_power(P, case.lag)


def sums(P):
    return [round(value, 3) for value in P.sum(1).tolist()]


def gap(one, other):
    return float((one - other).abs().max())


@kernel.part(2, "both ways of writing the joint distribution agree")
def bayes(answers, case):
    for index, size in enumerate((2, 5, 9)):
        p, P = chain(case, size, 10 * index)
        P_ = powered(P, case)
        R, after, joint = reversed_(answers, p, P), p @ P_, (p[:, None] * P_).T
        assert close(after[:, None] * R, joint), (
            f"{size} states: forwards and backwards, the probability of a pair differs by {gap(after[:, None] * R, joint):.2g}")


@kernel.part(1, "a state that cannot be reached gets a distribution, and spoils no other row")
def unreachable(answers, case):
    for index, size in enumerate((3, 6)):
        p, P = chain(case, size, 40 + 10 * index)
        P[:, -1] = 0
        P = P / P.sum(1, keepdim=True)
        P_ = powered(P, case)
        R, after = reversed_(answers, p, P), p @ P_
        assert close(R.sum(1), torch.ones(size)) and bool((R >= 0).all()), (
            f"state {size - 1} of {size} cannot be reached, and some row of R is no distribution: the rows' sums are {sums(R)}")
        assert close(after[:-1, None] * R[:-1], (p[:, None] * P_).T[:-1]), f"state {size - 1} of {size} cannot be reached, and other rows are wrong"


@kernel.part(1, "a chain in balance is its own reverse, and a ring is walked the other way")
def arrow(answers, case):
    flow = case.uniform(5, 5, stream=70)
    flow = flow + flow.T
    P = flow / flow.sum(1, keepdim=True)
    R = reversed_(answers, flow.sum(1) / flow.sum(), P)
    assert close(R, powered(P, case)), f"a chain in balance and its reverse differ by {gap(R, powered(P, case)):.2g}"
    on = float(case.uniform(1, low=0.5, high=0.8, stream=71))
    ring = torch.tensor([[0.9 - on, on, 0.1], [0.1, 0.9 - on, on], [on, 0.1, 0.9 - on]], dtype=torch.float64)
    R = reversed_(answers, torch.full((3,), 1 / 3, dtype=torch.float64), ring)
    away = gap(R, powered(ring.T, case))
    assert close(R, powered(ring.T, case)), f"the ring's reverse is not the ring walked the other way: they differ by {away:.2g}"


def backward(p, P):
    """Bayes' rule where every state can be reached."""
    joint = (p[:, None] * P).T
    return joint / joint.sum(1, keepdim=True)


@kernel.mistake("Rows and columns are exchanged: a row of R belongs to the state now, and is a distribution of the state before.")
def columns(case):
    return lambda p, P: backward(p, powered(P, case)).T


@kernel.mistake("The likelihood was normalised alone. How probable a state was before the step counts as well: p is missing.")
def no_prior(case):
    return lambda p, P: powered(P, case).T / powered(P, case).sum(0)[:, None].clamp(min=1e-300)


@kernel.mistake("This divides by the distribution before the step. That is right only if the step leaves it as it is.")
def stationary(case):
    return lambda p, P: (p[:, None] * powered(P, case)).T / p[:, None].clamp(min=1e-300)


@kernel.mistake("0 / 0 is nan. A state that cannot be reached needs a row all the same.")
def not_a_number(case):
    return lambda p, P: backward(p, powered(P, case))


@kernel.mistake("The division by zero is gone, but a row of zeros is no distribution.")
def row_of_zeros(case):
    def reverse_kernel(p, P):
        joint = (p[:, None] * powered(P, case)).T
        return joint / joint.sum(1, keepdim=True).clamp(min=1e-300)
    return reverse_kernel


@kernel.mistake("The inverse of a matrix undoes it for distributions, but its entries are no probabilities: some are negative. Use Bayes' rule.")
def inverse(case):
    return lambda p, P: torch.linalg.pinv(powered(P, case))


@kernel.mistake("This is the forward matrix. It is its own reverse in balance only, and the given chains are not in balance.")
def forwards(case):
    return lambda p, P: powered(P, case)


# The bug zoo: three forward steps

bugs = Task(
    "markov-bugs",
    ("step", "ends"),
    minutes=20,
    difficulty=2,
    example="step(torch.ones(3, dtype=torch.float64), 0.1, seeded(1)), ends(0.02)",
    vary={"v": (1, 2, 3, 0.5)},
    twist="Your version is at another temperature: wherever a step adds noise, in A, B and C as well, this noise is $\\sqrt{{{v}}}$ times as "
          "large as above. The distribution that `step` keeps is $\\mathcal N(0, {v})$, and what it adds to the state is Gaussian with variance "
          "${v} \\beta$. `ends` speaks of chains A, B and C with that noise.",
)
DRAWS = 100_000


def stepped(answers, y, beta, case, stream):
    return tensor(answers.step(y, beta, case.generator(stream)), len(y))


def betas(case, stream):
    return [0.02, 0.3, 0.9, *case.uniform(1, low=0.1, high=0.8, stream=stream).tolist()]


def fourth(x):
    """The fourth moment in units of the squared variance: 3 for a Gaussian, and sqrt(24 / N) its standard error."""
    return float((x**4).mean() / (x**2).mean() ** 2)


@bugs.part(1, "the right share of the state is kept")
def memory(answers, case):
    one, other = case.normal(50, stream=1), case.normal(50, stream=2)
    for beta in betas(case, 3):
        kept = stepped(answers, one, beta, case, 4) - stepped(answers, other, beta, case, 4)
        share = float((kept * (one - other)).sum() / (one - other).square().sum())
        assert close(kept, math.sqrt(1 - beta) * (one - other)), f"beta = {beta:.3g}, the same noise twice: the state is multiplied by {share:.4f}"


@bugs.part(1, "the noise has the right variance")
def variance(answers, case):
    for beta in (0.05, 0.3, 0.8):
        kick = stepped(answers, torch.zeros(DRAWS, dtype=torch.float64), beta, case, 5)
        ratio = float(kick.square().mean()) / (case.v * beta)
        assert close(ratio, 1, 5 * math.sqrt(2 / DRAWS)), f"beta = {beta}: the variance of the noise is {ratio:.3f} times what it should be"


@bugs.part(1, "the noise is Gaussian")
def gaussian(answers, case):
    kick = stepped(answers, torch.zeros(DRAWS, dtype=torch.float64), 0.3, case, 6)
    assert close(fourth(kick), 3, 5 * math.sqrt(24 / DRAWS)), f"the fourth moment of the noise is {fourth(kick):.3f} squared variances, not 3"


@bugs.part(2, "the wanted distribution stays what it is, and a wider one comes nearer to it")
def stays(answers, case):
    for beta, wide in ((0.3, 1), (0.9, 1), (0.5, 3)):
        after = stepped(answers, math.sqrt(wide * case.v) * case.normal(DRAWS, stream=7), beta, case, 8)
        found, should = float(after.var()) / case.v, 1 + (1 - beta) * (wide - 1)
        assert close(found / should, 1, 5 * math.sqrt(2 / DRAWS)), f"beta = {beta}: the variance goes from {wide} to {found:.3f} of the wanted one"
        assert close(fourth(after), 3, 5 * math.sqrt(24 / DRAWS)), f"beta = {beta}: the fourth moment becomes {fourth(after):.3f} squared variances"


@bugs.part(2, "chains A, B and C settle at these variances")
def settle(answers, case):
    for beta in betas(case, 9):
        keeps, kicks = (1 - beta, 1 - beta, (1 - beta) ** 2), (beta**2, beta, beta)
        for name, value, keep, kick in zip("ABC", sequence(answers.ends(beta), 3), keeps, kicks, strict=True):
            after = keep * number(value) + kick * case.v
            assert close(number(value), after), f"chain {name}, beta = {beta:.3g}: one more step takes variance {number(value):.4g} to {after:.4g}"


def noisy(y, g):
    return torch.randn(len(y), dtype=torch.float64, generator=g)


def with_step(case, step):
    """A wrong step, called with the size of the noise as well, and the right ends."""
    return {"step": lambda y, beta, g: step(y, beta, g, math.sqrt(case.v)), "ends": lambda beta: (case.v * beta, case.v, case.v / (2 - beta))}


def with_ends(case, ends):
    return {"step": lambda y, beta, g: math.sqrt(1 - beta) * y + math.sqrt(case.v * beta) * noisy(y, g), "ends": ends}


@bugs.mistake("This is chain A. Its noise is multiplied by beta, which is a variance.")
def like_a(case):
    return with_step(case, lambda y, beta, g, size: math.sqrt(1 - beta) * y + size * beta * noisy(y, g))


@bugs.mistake("This is chain B. Mean and variance of its noise are right, and its shape is not.")
def like_b(case):
    uniform = lambda y, g: 2 * torch.rand(len(y), dtype=torch.float64, generator=g) - 1
    return with_step(case, lambda y, beta, g, size: math.sqrt(1 - beta) * y + size * math.sqrt(3 * beta) * uniform(y, g))


@bugs.mistake("This is chain C. It keeps 1 - beta of the state itself; it is the variance of which that share should stay.")
def like_c(case):
    return with_step(case, lambda y, beta, g, size: (1 - beta) * y + size * math.sqrt(beta) * noisy(y, g))


@bugs.mistake("All states get one and the same draw of noise. Each needs its own.")
def one_draw(case):
    return with_step(case, lambda y, beta, g, size: math.sqrt(1 - beta) * y + size * math.sqrt(beta) * noisy(y[:1], g))


@bugs.mistake("Chain A adds beta squared in every step, and a part of the earlier noise is still there: which variance does a step leave alone?")
def one_step_of_a(case):
    return with_ends(case, lambda beta: (case.v * beta**2, case.v, case.v / (2 - beta)))


@bugs.mistake("Chain C multiplies the state by 1 - beta, and so its variance by the square of that.")
def c_unsquared(case):
    return with_ends(case, lambda beta: (case.v * beta, case.v, case.v))


@bugs.mistake("These are standard deviations, and variances are asked for.")
def deviations(case):
    return with_ends(case, lambda beta: (math.sqrt(case.v * beta), math.sqrt(case.v), math.sqrt(case.v / (2 - beta))))


# Two balanced chains

palindrome = Task(
    "markov-palindrome",
    ("combine", "undo"),
    minutes=25,
    difficulty=3,
    example="undo(torch.tensor([[0.5, 0.5], [0.5, 0.5]], dtype=torch.float64), torch.eye(2, dtype=torch.float64))",
    vary={"ratio": (None, 2, 3, 4)},
    twist="In your version a step of $P_1$ costs {ratio} times as much as one of $P_2$. Therefore the combined step is to use $P_2$ exactly {ratio} "
          "times as often as $P_1$ (on average, should chance decide). And `undo` is asked for another pair of frames: between them lies one step of "
          "$P_1$, then {ratio} steps of $P_2$.",
)


def pair(case, stream, moves=0.6):
    """pi, P1 and P2 in balance with it, and the pairs of states that each of them joins: none reaches every state alone."""
    pi, order = case.normal(5, stream=stream).softmax(0), torch.randperm(5, generator=case.generator(stream + 1)).tolist()
    chains, edges = [], []
    for first in (0, 1):
        flow, joined = torch.zeros(5, 5, dtype=torch.float64), [(order[k], order[k + 1]) for k in range(first, 4, 2)]
        for i, j in joined:
            flow[i, j] = flow[j, i] = moves * min(pi[i], pi[j])
        chains.append(torch.diag(1 - (flow / pi[:, None]).sum(1)) + flow / pi[:, None])
        edges.append(joined)
    return pi, *chains, edges


def everywhere(P):
    return bool((torch.linalg.matrix_power(P, 5) > 1e-9).all())


def balance(pi, P):
    flow = pi[:, None] * P
    assert close(flow, flow.T), f"not in balance: between two states the flows there and back differ by {gap(flow, flow.T):.2g}"


@palindrome.part(2, "`undo` is the backward matrix at stationarity")
def undone(answers, case):
    for stream in (0, 10, 20):
        pi, P1, P2, _ = pair(case, stream)
        steps = P1 @ torch.linalg.matrix_power(P2, case.ratio or 1)
        back, R = (pi[:, None] * steps).T / pi[:, None], tensor(answers.undo(P1, P2), 5, 5)
        assert close(R, back), f"by Bayes' rule with pi the backward matrix has other entries, by up to {gap(R, back):.2g}"


def combined(answers, P1, P2):
    P = tensor(answers.combine(P1, P2), 5, 5)
    assert close(P.sum(1), torch.ones(5)), f"some row is no distribution: the rows' sums are {sums(P)}"
    assert bool((P >= -1e-12).all()), f"the lowest entry, {float(P.min()):.3g}, is no probability"
    return P


@palindrome.part(1, "`combine` keeps pi and reaches every state")
def still(answers, case):
    for stream in (30, 40, 50):
        pi, P1, P2, _ = pair(case, stream)
        P = combined(answers, P1, P2)
        assert close(pi @ P, pi), f"pi is not stationary: a probability changes by {gap(pi @ P, pi):.2g}"
        assert everywhere(P), "some state cannot be reached from some other"


@palindrome.part(1, "`combine` is in balance and reaches every state")
def balanced(answers, case):
    for stream in (60, 70, 80):
        pi, P1, P2, _ = pair(case, stream)
        P = combined(answers, P1, P2)
        balance(pi, P)
        assert everywhere(P), "some state cannot be reached from some other"


@palindrome.part(1, "it is in balance and uses both matrices, in the proportion that is asked for if one is")
def proportion(answers, case):
    pi, P1, P2, edges = pair(case, 90)
    balance(pi, combined(answers, P1, P2))
    small = 1e-6                            # matrices that hardly move: what they do adds up, each as often as it is used
    lazy = [torch.eye(5, dtype=torch.float64) + small * (P - torch.eye(5, dtype=torch.float64)) for P in (P1, P2)]
    P = tensor(answers.combine(*lazy), 5, 5) / small
    one, two = ([float(P[i, j] / matrix[i, j]) for i, j in joined] for matrix, joined in zip((P1, P2), edges, strict=True))
    even = close(one, one[:1] * 2, 1e-3) and close(two, two[:1] * 2, 1e-3)
    assert even and min(one + two) > 1e-3, f"from one pair of states to the next, P1 is used {one} times and P2 {two} times"
    assert case.ratio is None or close(two[0] / one[0], case.ratio, 1e-3), f"P2 is used {two[0] / one[0]:.3g} times as often as P1"


def often(case, P1, P2):
    """P1 once, then P2 as often as the case says."""
    return P1 @ torch.linalg.matrix_power(P2, case.ratio or 1)


def back(case, P1, P2):
    return torch.linalg.matrix_power(P2, case.ratio or 1) @ P1


def toss(case, P1, P2):
    return (P1 + (case.ratio or 1) * P2) / (1 + (case.ratio or 1))


@palindrome.mistake("One after the other keeps pi, but its reverse does them in the other order, and so it is not in balance.")
def in_turn(case):
    return {"combine": lambda P1, P2: often(case, P1, P2), "undo": lambda P1, P2: back(case, P1, P2)}


@palindrome.mistake("Repeating the pair does not help: read backwards, it still begins with the other one.")
def repeated(case):
    return {"combine": lambda P1, P2: often(case, P1, P2) @ often(case, P1, P2), "undo": lambda P1, P2: back(case, P1, P2)}


@palindrome.mistake("Each matrix alone is in balance, but it cannot reach every state.")
def alone(case):
    return {"combine": lambda P1, P2: P1, "undo": lambda P1, P2: back(case, P1, P2)}


@palindrome.mistake("Adding the transpose makes the matrix symmetric. Balance asks that of the flow, pi times the matrix.")
def symmetrised(case):
    return {"combine": lambda P1, P2: (often(case, P1, P2) + often(case, P1, P2).T) / 2, "undo": lambda P1, P2: back(case, P1, P2)}


@palindrome.mistake("This adds up the moves of both, and what is left for staying can become negative. A step has to remain a step.")
def moves_added(case):
    times = case.ratio or 1
    return {"combine": lambda P1, P2: P1 + times * (P2 - torch.eye(len(P2), dtype=P2.dtype)), "undo": lambda P1, P2: back(case, P1, P2)}


@palindrome.mistake("The rows of this sum do not sum to 1: no step was chosen between the two.")
def summed(case):
    return {"combine": lambda P1, P2: P1 + (case.ratio or 1) * P2, "undo": lambda P1, P2: back(case, P1, P2)}


@palindrome.mistake("Rows that are made to sum to 1 afterwards give a matrix of probabilities, but pi does not survive it.")
def normalised(case):
    def combine(P1, P2):
        larger = torch.maximum(P1, P2)
        return larger / larger.sum(1, keepdim=True)
    return {"combine": combine, "undo": lambda P1, P2: back(case, P1, P2)}


@palindrome.mistake("A film that runs backwards begins with its last step.")
def same_order(case):
    return {"combine": lambda P1, P2: toss(case, P1, P2), "undo": lambda P1, P2: often(case, P1, P2)}


@palindrome.mistake("The transpose is the backward matrix for a uniform pi only. By balance no transpose is needed.")
def transposed(case):
    return {"combine": lambda P1, P2: toss(case, P1, P2), "undo": lambda P1, P2: often(case, P1, P2).T}


@palindrome.mistake("The inverse takes distributions back but is no matrix of probabilities. What undoes a single step that is in balance?")
def inverted(case):
    return {"combine": lambda P1, P2: toss(case, P1, P2), "undo": lambda P1, P2: torch.linalg.pinv(often(case, P1, P2))}


QUESTION = """\
Three data sets on a line go through the forward chain of this section, the linear schedule of 1000 steps:

- A: $x_0 \\sim \\mathcal N(0, 1)$;
- B: $x_0 \\sim \\mathcal N(0, 0.01)$;
- C: $x_0 = +0.1$ or $-0.1$, each with probability one half.

1. For each of the three: can you tell a film of two frames from the same film played backwards? At which times, if at any?
2. For each: is the backward step Gaussian, whatever its size? If not always, when?
3. For each: what does a model have to know about the data to undo a step at a late time, say $t = 800$? At an early time, say $t = 5$? What do B
   and C share, and from when on?
4. A colleague spends an equal number of sampling steps on each tenth of the time axis. Say what you think of it for each data set.

Give reasons, by the results of the section. No calculation longer than two lines is needed.
"""
RUBRIC = """\
5 points.

1 point, question 1. A is at equilibrium and every step is in balance with it, so no film of it has a direction. B and C have one while KL(p_t ||
N(0, 1)) still falls, which is early; late films look the same both ways. (Where exactly is not asked: "early, while the distance falls" is
enough.)

1 point, question 2. A and B are Gaussian data, so x_s and x_t are jointly Gaussian, and the backward step is Gaussian for every size. C: not in
general. It can split in two while the noise is smaller than half the distance of the points (1 - alpha_bar_s < 0.01 alpha_bar_s: about the first
27 steps); it is nearly Gaussian for small steps, and later.

1 point, question 3, late. Next to nothing for all three: p_t is nearly N(0, 1), its score nearly -x, and the backward kernel nearly the forward
one. For A that is exact at all times: there is nothing to learn.

1 point, question 3, early, and B against C. B: one number, the variance (the score is linear). C: a score that is not linear, since the points
are still apart. B and C have the same mean and variance, and the chain forgets finer features first: once the noise is larger than the distance
of the points, a model of B serves for C.

1 point, question 4. A: one step would do. B: Gaussian steps of any size are exact if mean and variance are known, so few steps may do as well
(with variance beta they should be small where the distance falls). C: steps belong where the distribution still changes, which is early, and
equal shares waste most of them.

Typical wrong answers: "each step is in balance, so no film has a direction" (forgets that the chain is not at equilibrium: no point for question
1); "the forward step is Gaussian, so the backward step of C is"; "B is farther from N(0, 1) than A, so its steps are not Gaussian"; "at late
times most must be known, since the state is most noisy".
"""

SET = ProblemSet("markov_chains", "Films forwards and backwards", "02_concepts/01_markov_chains", SETUP, [exact, kernel, bugs, palindrome],
                 Essay(QUESTION, RUBRIC, points=5, minutes=20))
