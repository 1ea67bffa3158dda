"""Graders of section 2.2, variational inference and the ELBO."""

import math

import torch

from diffusion_core.gaussian import gaussian_kl

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import math

import torch

SIGMA = 0.5                                # standard deviation of a detector's noise


def log_normal(x, mean, variance):
    variance = torch.as_tensor(variance, dtype=torch.float64)
    return -0.5 * ((x - mean) ** 2 / variance + variance.log() + math.log(2 * math.pi))
"""


# A bound that is a sum

discrete = Task(
    "elbo-discrete",
    ("discrete_elbo",),
    minutes=10,
    difficulty=1,
    example="discrete_elbo(torch.tensor([0.5, 0.5]).double().log(), torch.tensor([-1.0, -3.0]).double(), torch.tensor([0.9, 0.1]).double())",
    vary={"weight": (1, 2, 4, 0.5)},
    twist="In your version straying from the prior has another price. Read the ELBO as \"explain the measurement, but do not stray from the "
          "prior\", and count its second part, $\\mathrm{{KL}}(q \\,\\|\\, \\pi)$, ${weight}$ times; the first part counts once. The maximum "
          "over $q$ is then no longer $\\log p(x)$ and is not reached at the posterior; which number and which $q$ take their places is for "
          "you to find. `discrete_elbo` returns the value for the given `q`.",
)


def mixture(case, K, stream):
    return case.normal(K, stream=stream).log_softmax(0), 3 * case.normal(K, stream=stream + 1)


def best(case, log_prior, log_likelihood):
    """The largest value over q, and the logarithm of the q that has it."""
    scores = log_prior + log_likelihood / case.weight
    return case.weight * float(torch.logsumexp(scores, 0)), scores.log_softmax(0)


def misses(case, q, log_best):
    """What a q misses of the largest value, in closed form."""
    return case.weight * float((torch.xlogy(q, q) - q * log_best).sum())


def value(answers, log_prior, log_likelihood, q):
    return number(answers.discrete_elbo(log_prior, log_likelihood, q))


@discrete.part(1, "what a random q misses is its KL to the best q")
def kl(answers, case):
    for stream, K in ((0, 2), (10, 3), (20, 10)):
        for draw in range(5):
            log_prior, log_likelihood = mixture(case, K, stream + 100 * draw)
            q, (top, log_best) = (2 * case.normal(K, stream=stream + 100 * draw + 2)).softmax(0), best(case, log_prior, log_likelihood)
            missing, gap = top - value(answers, log_prior, log_likelihood, q), misses(case, q, log_best)
            assert close(missing, gap, 1e-7), f"K = {K}: the value is {missing:.4g} nats below the largest one, and should be {gap:.4g} below it"


@discrete.part(1, "the best q misses nothing, and leaving it costs")
def tight(answers, case):
    for stream, K in ((500, 2), (510, 5)):
        log_prior, log_likelihood = mixture(case, K, stream)
        top, log_best = best(case, log_prior, log_likelihood)
        at_best = value(answers, log_prior, log_likelihood, log_best.exp())
        assert close(at_best, top, 1e-7), f"K = {K}: the value at the best q is {at_best:.4g}, and the largest possible one is {top:.4g}"
        k = int(log_best.argmin())              # the least likely value: moving there changes q for sure
        moved = value(answers, log_prior, log_likelihood, 0.9 * log_best.exp() + 0.1 * torch.eye(K, dtype=torch.float64)[k])
        assert moved < at_best - 1e-4, f"K = {K}: moving a tenth of the best q to value {k} changes {at_best:.4g} to {moved:.4g}"


@discrete.part(1, "a q may give some values probability 0")
def zeros(answers, case):
    for stream, zero in ((600, [0, 0, 1, 1]), (610, [1, 0, 1, 1]), (620, [1, 1, 1, 0])):
        log_prior, log_likelihood = mixture(case, 4, stream)
        q = case.uniform(4, low=0.2, stream=stream + 2) * (1 - torch.tensor(zero, dtype=torch.float64))
        q, (top, log_best) = q / q.sum(), best(case, log_prior, log_likelihood)
        found, should = value(answers, log_prior, log_likelihood, q), top - misses(case, q, log_best)
        shown = [round(p, 2) for p in q.tolist()]
        assert close(found, should, 1e-7), f"q = {shown}: the value is {found:.4g}, and {should:.4g} if 0 counts for nothing"


@discrete.mistake("This does not depend on q: it is the largest value, not the value of this q.")
def evidence(case):
    return lambda log_prior, log_likelihood, q: best(case, log_prior, log_likelihood)[0] + 0 * q.sum()


@discrete.mistake("This takes the logarithm of an average. The ELBO averages logarithms, that of q among them.")
def log_of_average(case):
    return lambda log_prior, log_likelihood, q: torch.log((q * (log_prior + log_likelihood).exp()).sum())


@discrete.mistake("The term -log q is missing, so that the best q would put everything on the one most likely value.")
def no_entropy(case):
    return lambda log_prior, log_likelihood, q: (q * (case.weight * log_prior + log_likelihood)).sum()


@discrete.mistake("The sign of log q is wrong: q stands in the denominator.")
def sign(case):
    return lambda log_prior, log_likelihood, q: (q * (case.weight * log_prior + log_likelihood) + case.weight * torch.xlogy(q, q)).sum()


@discrete.mistake("The prior is missing: straying from it has to cost something.")
def no_prior(case):
    return lambda log_prior, log_likelihood, q: (q * log_likelihood - case.weight * torch.xlogy(q, q)).sum()


@discrete.mistake("0 times log 0 is nan in floating point, and 0 in the limit. What has probability 0 must not count.")
def not_a_number(case):
    return lambda log_prior, log_likelihood, q: (q * (log_likelihood - case.weight * (q.log() - log_prior))).sum()


@discrete.mistake("This averages over the prior. The average is over q, and the prior is a part of what is averaged.")
def over_prior(case):
    return lambda log_prior, log_likelihood, q: (log_prior.exp() * log_likelihood + case.weight * (q * log_prior - torch.xlogy(q, q))).sum()


# The bug zoo: three bounds that are none

bugs = Task(
    "elbo-bugs",
    ("bound_mended", "learned_widths"),
    minutes=25,
    difficulty=2,
    example="bound_mended(torch.ones(3).double(), torch.ones(3).double(), torch.zeros(3).double(), torch.tensor([[1.0] * 3, [-1.0] * 3]).double())",
    vary={"gain": (1, 2, 3, 0.5)},
    twist="The detectors of your version have a gain: they report $x = {gain}\\, z + \\sigma \\epsilon$. Estimates A, B and C are used with "
          "it as well, that is with `{gain} * zs` in the place of `zs` in their last lines; the prior is still $\\mathcal N(0, 1)$.",
)
SIGMA = 0.5


def posterior(case, x):
    """Mean and variance of every latent given its measurement."""
    total = case.gain**2 + SIGMA**2
    return case.gain * x / total, torch.full_like(x, SIGMA**2 / total)


def log_evidence(case, x):
    total = case.gain**2 + SIGMA**2
    return float((-0.5 * (x**2 / total + math.log(2 * math.pi * total))).sum())


def draws(D):
    """Draws of D latents with which averages of quadratic functions are exact, twice: of size 1, and of sizes 0 and root 3."""
    for column in ([1.0, -1.0], [math.sqrt(3), -math.sqrt(3), 0.0, 0.0, 0.0, 0.0]):
        yield torch.tensor(column, dtype=torch.float64)[:, None].expand(-1, D)


def judged(answers, case, D, stream):
    """The gap of the bound for random q, against the KL to the posterior."""
    for index in range(6):
        x = 1.2 * case.normal(D, stream=stream + 10 * index)
        mu, logvar = x * case.uniform(D, stream=stream + 10 * index + 1), 1.5 * case.normal(D, stream=stream + 10 * index + 2) - 1
        gap = float(gaussian_kl(mu, logvar.exp(), *posterior(case, x)).sum())
        for eps in draws(D):
            found = log_evidence(case, x) - float(tensor(answers.bound_mended(x, mu, logvar, eps), len(eps)).mean())
            assert close(found, gap, 1e-7), f"D = {D}: the bound lies {found:.4g} below log p(x), and the KL of q to the posterior is {gap:.4g}"


@bugs.part(1, "with one latent, the bound misses the KL to the posterior")
def one_latent(answers, case):
    judged(answers, case, 1, 0)


@bugs.part(2, "with several latents, the bound misses the KL to the posterior")
def several(answers, case):
    judged(answers, case, 3, 100)
    judged(answers, case, 8, 200)


def widths(answers, D):
    return [number(width) for width in sequence(answers.learned_widths(D), 3)]


def at_its_top(name, D, width, rise):
    """`rise` is the derivative of an estimate by the width of q, up to a factor."""
    assert width > 0, f"D = {D}: the width for {name} is {width:.4g}, and a q of width 0 strays infinitely far from the prior"
    slope = rise(width)
    direction = "rises" if slope > 0 else "falls"
    assert close(slope, 0, 1e-6), f"D = {D}: with width {width:.4g} estimate {name} is not at its highest: it {direction} there"


def waves(case):
    return [1, 4, 8, 30, 2 + int(case.uniform(1, stream=300) * 60)]


@bugs.part(1, "the widths that A and C learn")
def widths_a_c(answers, case):
    for D in waves(case):
        a, _, c = widths(answers, D)
        at_its_top("A", D, a, lambda s: 1 / s**2 - 1)
        at_its_top("C", D, c, lambda s: (1 / s**2 - 1) / D - case.gain**2 / SIGMA**2)


@bugs.part(1, "the width that B learns")
def width_b(answers, case):
    for D in waves(case):
        b = widths(answers, D)[1]
        at_its_top("B", D, b, lambda s: 1 / s**2 - 1 - 2 * case.gain**2 * s**2 / SIGMA**2)


def bound(case, stretch=lambda logvar: (0.5 * logvar).exp(), total=torch.sum):
    """An estimate of the bound; `stretch` and `total` are where A, B and C go wrong."""
    def estimate(x, mu, logvar, eps):
        error = x - case.gain * (mu + stretch(logvar) * eps)
        explains = (-0.5 * (error**2 / SIGMA**2 + math.log(2 * math.pi * SIGMA**2))).sum(1)
        return explains - total(0.5 * (mu**2 + logvar.exp() - 1 - logvar))
    return estimate


def learned(case, D):
    ratio = case.gain**2 / SIGMA**2
    return 1.0, math.sqrt((math.sqrt(0.25 + 2 * ratio) - 0.5) / (2 * ratio)), 1 / math.sqrt(1 + D * ratio)


def with_bound(case, **wrong):
    return {"bound_mended": bound(case, **wrong), "learned_widths": lambda D: learned(case, D)}


def with_widths(case, wrong):
    return {"bound_mended": bound(case), "learned_widths": wrong}


@bugs.mistake("This is A: it leaves the noise out, so that a wide q explains the measurement as well as a narrow one.")
def like_a(case):
    return with_bound(case, stretch=torch.zeros_like)


@bugs.mistake("This is B: it multiplies the noise by the variance of q. Noise is multiplied by a standard deviation.")
def like_b(case):
    return with_bound(case, stretch=torch.exp)


@bugs.mistake("This is C: it averages the KL over latents, and what the latents cost adds up. With one latent there is no difference.")
def like_c(case):
    return with_bound(case, total=torch.mean)


@bugs.mistake("The KL to the prior is added. It is a price, so it is taken off.")
def kl_added(case):
    return with_bound(case, total=lambda kl: -kl.sum())


@bugs.mistake("This is the posterior's width, three times. A wrong estimate has its maximum elsewhere: differentiate each by the width of q.")
def no_effect(case):
    return with_widths(case, lambda D: (SIGMA / math.sqrt(case.gain**2 + SIGMA**2),) * 3)


@bugs.mistake("These are variances of q, and widths are asked for: standard deviations.")
def variances(case):
    return with_widths(case, lambda D: tuple(width**2 for width in learned(case, D)))


@bugs.mistake("A does not learn to be narrow. Without noise its first term does not feel the width at all; what does the KL alone want?")
def a_collapses(case):
    return with_widths(case, lambda D: (0.0, *learned(case, D)[1:]))


@bugs.mistake("B's draws do not end up as wide as the posterior: the KL still speaks of the true width, so both terms shift the maximum.")
def b_by_its_draws(case):
    return with_widths(case, lambda D: (1.0, (SIGMA / math.sqrt(case.gain**2 + SIGMA**2)) ** 0.5, learned(case, D)[2]))


@bugs.mistake("C's price for straying is divided by D: with more waves, its width has to move away from the posterior's.")
def c_without_d(case):
    return with_widths(case, lambda D: (*learned(case, D)[:2], SIGMA / math.sqrt(case.gain**2 + SIGMA**2)))


# The best baseline

baseline_ = Task(
    "elbo-baseline",
    ("baseline", "at_best"),
    minutes=20,
    difficulty=2,
    example="at_best(6)",
    vary={"P": (1, 2, 3, 5)},
    twist="In your version gradients are taken by ${P}$ parameters of $q$: `g` has shape $(N, {P})$ with a column for each, `f` has shape "
          "$(N,)$, and one constant $c$ serves all columns. The sum of the ${P}$ variances of $(f - c)\\, g_1, \\dots, (f - c)\\, g_{{{P}}}$ is to "
          "be smallest. For `at_best(D)`, with $D \\ge {P}$, these are the derivatives with respect to $m_1, \\dots, m_{{{P}}}$, and the second "
          "number that it returns is that sum.",
)
N = 10_000


def slopes(case, columns):
    """A matrix of gradients of log q as students get it: (N,) in the book's version, (N, P) in a class's."""
    return columns[:, 0] if case.P == 1 else columns


def noise_of(f, c, columns):
    return float(((f - c)[:, None] * columns).var(0).sum())


def latents(case):
    """Functions of latents at draws of q, and the gradients that belong to them."""
    for index, D in enumerate((case.P, case.P + 1, case.P + 4, 20)):
        zs = case.normal(N, D, stream=index)
        for name, f in (("|z|^2 / 2", 0.5 * (zs**2).sum(1)), ("(z_1 - 1)^4", (zs[:, 0] - 1) ** 4), ("exp", torch.exp(0.3 * zs.sum(1) / D**0.5))):
            yield f"D = {D}, f = {name}", f, zs[:, : case.P]


@baseline_.part(1, "no other constant has a smaller variance, at draws of q")
def smallest(answers, case):
    for where, f, columns in latents(case):
        c = number(answers.baseline(f, slopes(case, columns)))
        points = [noise_of(f, f.mean() + k * f.std(), columns) for k in (-1, 0, 1)]         # a parabola in c: three points give its lowest
        bend, tilt = (points[0] + points[2]) / 2 - points[1], (points[2] - points[0]) / 2
        least, found = points[1] - tilt**2 / (4 * bend), noise_of(f, c, columns)
        assert found <= least * (1 + 2e-3), f"{where}: the variance is {found:.4g} with c = {c:.3g}, and {least:.4g} with another constant"


def pairs(case, size, stream):
    """Values f, each with a gradient and its opposite: the mean of g is exactly 0, and that of f g as well."""
    f, half = case.normal(size, stream=stream) * 2 + 1, case.normal(size, case.P, stream=stream + 1)
    return torch.cat([f, f]), torch.cat([half, -half])


@baseline_.part(1, "where f is shifted or stretched, so is the constant; the scale of g is of no account")
def scales(answers, case):
    f, columns = pairs(case, 30, 20)
    ask = lambda f, columns: number(answers.baseline(f, slopes(case, columns)))
    c = ask(f, columns)
    for shift, stretch, scale in ((5.0, 1.0, 1.0), (0.0, -3.0, 1.0), (0.0, 1.0, 4.0)):
        found, should = ask(stretch * f + shift, scale * columns), stretch * c + shift
        change = f"f times {stretch:g} plus {shift:g}, g times {scale:g}"
        assert close(found, should, 1e-7), f"{change}: the constant goes from {c:.4g} to {found:.4g}, not to {should:.4g}"


@baseline_.part(1, "draws with a large gradient count for more, exactly as much as they should")
def weighed(answers, case):
    f, columns = pairs(case, 30, 30)
    f[:5] = f[30:35] = 1000.0                   # where g is 0 it does not matter
    columns[:5] = columns[30:35] = 0
    c = number(answers.baseline(f, slopes(case, columns)))
    for step in (-0.01, 0.01):
        here, there = ((((f - constant)[:, None] * columns) ** 2).sum() for constant in (c, c + step))
        assert here < there, f"with the constant {c:.4g} the noise is {here:.6g}, and with {c + step:.4g} it is {there:.6g}"


@baseline_.part(2, "the best constant and its variance for D latents")
def closed(answers, case):
    for D in (case.P, case.P + 1, 10, 100):
        c, variance = (number(item) for item in sequence(answers.at_best(D), 2))
        right = close(c, (D + 2) / 2, 1e-7) and close(variance, case.P * (D + 2) / 2, 1e-7)
        assert right, f"D = {D}: draws do not confirm that {c:.4g} is the best constant and {variance:.4g} the variance"


def columns_of(g):
    return g.reshape(len(g), -1)


def with_baseline(case, wrong):
    return {"baseline": lambda f, g: wrong(f[:, None], columns_of(g)), "at_best": lambda D: ((D + 2) / 2, case.P * (D + 2) / 2)}


def with_best(case, wrong):
    return {**with_baseline(case, lambda f, g: (f * g**2).mean() / (g**2).mean()), "at_best": wrong}


@baseline_.mistake("This is the mean of f. It is a good baseline, but draws whose gradient is large matter more than others.")
def mean(case):
    return with_baseline(case, lambda f, g: f.mean())


@baseline_.mistake("The weight of a draw is not the size of its gradient: write the variance as a function of c and differentiate.")
def absolute(case):
    return with_baseline(case, lambda f, g: (f * g.abs()).mean() / g.abs().mean())


@baseline_.mistake("This is the slope of f on g, a number of another unit: if g is doubled it is halved. A baseline has the unit of f.")
def regression(case):
    return with_baseline(case, lambda f, g: (f * g).mean() / (g**2).mean())


@baseline_.mistake("The weights have to add up to 1: something is left to divide by.")
def undivided(case):
    return with_baseline(case, lambda f, g: (f * g**2).mean())


@baseline_.mistake("This is a root of a mean square. The parabola in c has its lowest point at a mean of f, which can be negative.")
def root(case):
    return with_baseline(case, lambda f, g: ((f**2 * g**2).mean() / (g**2).mean()).sqrt())


@baseline_.mistake("This is what the mean of f as a baseline gives. The best constant is another one.")
def for_the_mean(case):
    return with_best(case, lambda D: (D / 2, case.P * (D + 4) / 2))


@baseline_.mistake("This is the mean square of f without a baseline, or less: the variance with baseline c is E[f^2 g^2] - c^2 E[g^2].")
def not_reduced(case):
    return with_best(case, lambda D: ((D + 2) / 2, case.P * (D + 2) * (D + 4) / 4))


# Between the bound and the truth

weights = Task(
    "elbo-weights",
    ("weighted_bound", "subset_bound"),
    minutes=25,
    difficulty=3,
    example="weighted_bound(torch.zeros(2, 3).double()), subset_bound(torch.zeros(2, 3).double())",
    vary={"order": (1, 2, 0.5, -1)},
    twist="In your version the weights are averaged in another way, by their power mean of order ${order}$: in the place of $\\frac1K \\sum_k "
          "w_k$ stands $\\big(\\frac1K \\sum_k w_k^{{{order}}}\\big)^{{1 / ({order})}}$, in both functions. All else stays: the logarithm of "
          "it, its mean over rows, and no overflow.",
)


def power_mean(case, log_w):
    """The logarithm of the power mean of one row of weights."""
    return float(torch.logsumexp(case.order * log_w, 0) - math.log(len(log_w))) / case.order


@weights.part(1, "one draw gives the ELBO, and equal weights lose nothing")
def plain(answers, case):
    log_w = case.normal(7, 1, stream=1)
    found, should = number(answers.weighted_bound(log_w)), float(log_w.mean())
    assert close(found, should), f"K = 1: {found:.4g}, and the mean of the log weights is {should:.4g}"
    level = float(case.uniform(1, low=-4, high=-2, stream=2))
    found = number(answers.weighted_bound(torch.full((5, 7), level, dtype=torch.float64)))
    assert close(found, level), f"all weights have the logarithm {level:.4g}, and the result is {found:.4g}"


@weights.part(1, "a factor of all weights shifts the result, however large or small it is")
def shifted(answers, case):
    log_w = 2 * case.normal(5, 6, stream=3)
    base = number(answers.weighted_bound(log_w))
    for shift in (3.0, 5000.0, -5000.0):
        found = number(answers.weighted_bound(log_w + shift))
        assert close(found, base + shift, 1e-8), f"{shift:g} was added to all log weights, and the result went from {base:.6g} to {found:.6g}"


@weights.part(1, "the logarithm is taken of the mean weight of a row, and then averaged over rows")
def rows(answers, case):
    for index, (n, K) in enumerate(((1, 2), (1, 5), (4, 3))):
        log_w = 2 * case.normal(n, K, stream=10 + index)
        found, should = number(answers.weighted_bound(log_w)), sum(power_mean(case, row) for row in log_w) / n
        assert close(found, should), f"log_w of shape ({n}, {K}): {found:.6g}, and row by row {should:.6g}"


@weights.part(1, "more draws bring it nearer to its limit")
def limit(answers, case):
    log_w = case.normal(500, 64, stream=21) / 2
    found, should = number(answers.weighted_bound(log_w)), case.order / 8
    assert close(found, should, 0.03), f"log weights of mean 0 and variance 1/4, K = 64: {found:.4g}, and the limit for many draws is {should:.4g}"
    log_w = 2 * case.normal(1000, 64, stream=20)
    found = [case.order * number(answers.weighted_bound(log_w.reshape(-1, K))) for K in (1, 4, 16, 64)]
    assert all(one < other for one, other in zip(found, found[1:], strict=False)), f"K = 1, 4, 16, 64: {[round(x / case.order, 3) for x in found]}"


@weights.part(1, "leaving out one draw of each row, in turn, gives the bound with one draw less")
def subsets(answers, case):
    inputs = [(2 * case.normal(n, K, stream=30 + K), 1e-9) for n, K in ((3, 2), (1, 3), (4, 6))]
    ruled = torch.tensor([[900.0, 0.0, 1.0, 0.0], [-900.0, 0.0, 0.0, 2.0]], dtype=torch.float64)     # by one weight, or all but one
    for log_w, tolerance in [*inputs, (ruled, 1e-8)]:
        n, K = log_w.shape
        should = sum(power_mean(case, torch.cat([row[:k], row[k + 1 :]])) for row in log_w for k in range(K)) / (n * K)
        found = number(answers.subset_bound(log_w))
        assert close(found, should, tolerance), f"log_w of shape ({n}, {K}): {found:.6g}, and subset by subset {should:.6g}"


def without_each(log_w):
    """The rows with each of their draws left out in turn, (K, N, K - 1)."""
    return torch.stack([torch.cat([log_w[:, :k], log_w[:, k + 1 :]], 1) for k in range(log_w.shape[1])])


def wrong_mean(weighted):
    """A wrong bound, and the subsets' bound that follows from it."""
    return {"weighted_bound": weighted, "subset_bound": lambda log_w: torch.stack([weighted(part) for part in without_each(log_w)]).mean()}


def wrong_subsets(case, subset):
    return {"weighted_bound": lambda log_w: right_rows(case, log_w).mean(), "subset_bound": subset}


def right_rows(case, log_w):
    return (torch.logsumexp(case.order * log_w, 1) - math.log(log_w.shape[1])) / case.order


@weights.mistake("This is the ELBO for every K. Weights are averaged first, and the logarithm of the average comes second.")
def logs_averaged(case):
    return wrong_mean(lambda log_w: log_w.mean())


@weights.mistake("This is a sum of weights, not their mean: the number of draws is missing.")
def summed(case):
    return wrong_mean(lambda log_w: (torch.logsumexp(case.order * log_w, 1) / case.order).mean())


@weights.mistake("All weights went into one mean. The logarithm is to be taken for each row, of its own K draws.")
def one_mean(case):
    return wrong_mean(lambda log_w: right_rows(case, log_w.reshape(1, -1)).mean())


@weights.mistake("The mean of weights runs over the wrong axis: the K draws of one row belong together.")
def wrong_axis(case):
    return wrong_mean(lambda log_w: right_rows(case, log_w.T).mean())


@weights.mistake("The formula is right, but exp of a log weight overflows or becomes 0. Take the largest out first, or let torch do it.")
def overflows(case):
    return wrong_mean(lambda log_w: ((case.order * log_w).exp().mean(1).log() / case.order).mean())


@weights.mistake("Only the largest weight is looked at.")
def largest(case):
    return wrong_mean(lambda log_w: log_w.amax(1).mean())


@weights.mistake("This leaves out the last draw only. All subsets of a row are asked for, each draw being left out once.")
def last_left_out(case):
    return wrong_subsets(case, lambda log_w: right_rows(case, log_w[:, :-1]).mean())


@weights.mistake("A subset has one draw less than the row, and the mean of its weights is divided by that many.")
def counted_by_k(case):
    return wrong_subsets(case, lambda log_w: right_rows(case, without_each(log_w).flatten(0, 1)).mean()
                         + (math.log(log_w.shape[1] - 1) - math.log(log_w.shape[1])) / case.order)


@weights.mistake("A weight taken off the sum of all leaves mere rounding where this weight is nearly all of the sum. Add up the others instead.")
def subtracted(case):
    def subset_bound(log_w):
        scaled = case.order * log_w
        top = scaled.amax(1, keepdim=True)
        others = (scaled - top).exp().sum(1, keepdim=True) - (scaled - top).exp()
        return ((others.log() + top - math.log(log_w.shape[1] - 1)) / case.order).mean()
    return wrong_subsets(case, subset_bound)


QUESTION = """\
Two groups report on the same test pictures, in nats for each picture.

- Group A: a variational autoencoder. "The mean ELBO is -95.0. The KL term in it is 25 nats, so our bound is 25 nats loose, and the true log
  likelihood is about -70."
- Group B: another decoder, with an encoder of its own. "With $L_{1000}$, the bound with 1000 weighted draws, we get -92.0. So our model is
  better than A's."

1. What is wrong with A's sentence? What would be needed to know how loose the bound is?
2. Does B's conclusion follow? Name everything in the comparison that could make the order of the two models another one.
3. A now computes $L_K$ with its own encoder: -95.0 for $K = 1$, -94.9 for $K = 100$, -94.9 for $K = 1000$. Give two different explanations,
   one in which A's ELBO is nearly tight and one in which it is far from that. Which measurement would tell them apart?
4. A asks for a cheap improvement: "let us multiply the KL term by 0.1 in training, then it will be smaller". What will happen to the KL
   term, and what is the reported number worth afterwards?
"""
RUBRIC = """\
6 points.

1 point, question 1. The KL in the ELBO is to the prior and is part of the bound; the gap is the KL of q to the posterior. It is not known,
since the posterior is not: one would need log p(x) itself, or an estimate from the other side or with a better q.

2 points, question 2. It does not follow. Both numbers are lower bounds of different kinds, with gaps that may differ (1 point): L_1000 of a
model is at least its own ELBO, so A's L_1000 may be above -92; and q differs between groups, so even equal kinds of bound need not have the
order of the likelihoods (1 point). Also acceptable for half of a point: chance in the estimate, other data or units.

2 points, question 3. One explanation: q is nearly the posterior, weights are nearly equal, nothing is left to gain (1 point). Another: q
misses a part of the posterior entirely, say one of two peaks; its draws never see it, so all weights look equal and the missing part stays
missing until K is astronomically large (1 point; the same with other words). A measurement: a wider or other q (the prior in few
dimensions, a mixture, several starts of the encoder, annealed importance sampling), which gives a larger L_K in the second case and not in
the first. Without any measurement: at most 1.5 points.

1 point, question 4. The KL term will become larger, not smaller, since straying from the prior has become cheap; q gets too narrow for the
prior. The number with the factor 0.1 is no bound of anything; evaluated with factor 1 it is a bound again, and usually a worse one.

Typical wrong answers: "the posterior is the prior"; "a higher bound is a better model"; "more draws always close the gap, so A is tight";
"a smaller weight makes the KL smaller".
"""

SET = ProblemSet("elbo", "Bounds on a likelihood", "02_concepts/02_elbo", SETUP, [discrete, bugs, baseline_, weights],
                 Essay(QUESTION, RUBRIC, points=6, minutes=25))
