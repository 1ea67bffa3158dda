"""Graders of section 2.3, denoising autoregressive models."""

import itertools
import math

import torch

from ..task import Essay, ProblemSet, Task, close, number, sequence

SETUP = """\
import itertools
import math

import torch

K, D = 3, 3                                                       # levels and pixels; K marks a hidden pixel
PICTURES = list(itertools.product(range(K), repeat=D))
STATES = list(itertools.product(range(K + 1), repeat=D))          # pictures with and without hidden pixels
number = {state: n for n, state in enumerate(STATES)}
orders = list(itertools.permutations(range(D)))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


arbitrary = torch.randn(len(STATES), D, K, generator=seeded(1), dtype=torch.float64).softmax(-1)   # p(level of i | what is shown)


def with_pixel(state, i, level):
    return state[:i] + (level,) + state[i + 1:]


def log_p(table, x, order):
    \"\"\"log p(x), pixel by pixel in this order.\"\"\"
    state, total = (K,) * D, 0.0
    for i in order:
        total += float(table[number[state], i, x[i]].log())
        state = with_pixel(state, i, x[i])
    return total
"""


def pictures(n):
    return list(itertools.product((0, 1), repeat=n))


def masked_model(case, n, stream=0):
    """conditional(state, i) of n black or white pixels with arbitrary answers to every mask."""
    p = case.uniform(3**n, n, low=0.05, high=0.95, stream=stream)
    return lambda state, i: float(p[sum((2 if v is None else v) * 3**k for k, v in enumerate(state)), i])


def log_of(p, level):
    return math.log(p if level else 1 - p)


# A masked model in a table


table = Task(
    "ar-table",
    ("log_prob_of", "exact"),
    minutes=15,
    difficulty=1,
    example="log_prob_of(exact({(0, 0): 0.1, (0, 1): 0.2, (1, 0): 0.3, (1, 1): 0.4}), (1, 0), (1, 0))",
    vary={"tau": (1.0, 0.5, 2.0, 4.0)},
    twist="In your version pictures are drawn at temperature $\\tau = {tau}$. Where the model says $p$ for a pixel, that pixel is 1 with odds "
          "$\\big(p / (1 - p)\\big)^{{1/\\tau}}$ in place of $p / (1 - p)$. `log_prob_of` gives the log probability of `x` when it is drawn so; "
          "`exact` is what it was.",
)


def tempered(p, tau):
    odds = (p / (1 - p)) ** (1 / tau)
    return odds / (1 + odds)


def one_by_one(conditional, x, order, tau):
    """log p(x): the oracle of `log_prob_of`."""
    return sum(log_of(tempered(conditional(tuple(v if j in order[:k] else None for j, v in enumerate(x)), i), tau), x[i])
               for k, i in enumerate(order))


@table.part(1, "whatever the model answers, the probabilities of all pictures sum to 1 in every order, and the orders differ")
def sums(answers, case):
    for n in (2, 3):
        conditional, found = masked_model(case, n, stream=n), []
        for order in itertools.permutations(range(n)):
            found.append([number(answers.log_prob_of(conditional, x, order)) for x in pictures(n)])
            total = sum(map(math.exp, found[-1]))
            assert close(total, 1), f"n = {n}, order {order}: the probabilities of all pictures sum to {total:.6f}"
        apart = max(abs(a - b) for a, b in zip(found[0], found[-1]))
        assert apart > 1e-3, f"n = {n}: this model's orders disagree, and `log_prob_of` gives the same for the first and the last order"


@table.part(2, "a pixel's factor is what the model says when the pixels before it are shown, and no others")
def factors(answers, case):
    for k in range(6):
        n = 3 + k % 3
        conditional = masked_model(case, n, stream=10 + k)
        x = tuple((case.uniform(n, stream=20 + k) > 0.5).int().tolist())
        order = tuple(case.uniform(n, stream=30 + k).argsort().tolist())
        found, should = number(answers.log_prob_of(conditional, x, order)), one_by_one(conditional, x, order, case.tau)
        assert close(found, should), f"x = {x}, order {order}: {found:.6f} in place of {should:.6f}"


@table.part(2, "the conditionals of a joint distribution are right for every mask")
def conditionals(answers, case):
    for n in (2, 3):
        p = case.uniform(2**n, low=0.05, stream=40 + n)
        joint = dict(zip(pictures(n), (p / p.sum()).tolist()))
        conditional = answers.exact(joint)
        assert callable(conditional), "`exact` has to give back a function"
        for state in itertools.product((0, 1, None), repeat=n):
            mass = [sum(q for x, q in joint.items() if all(s is None or s == v for s, v in zip(state, x)) and x[i] == level)
                    for i in range(n) for level in (0, 1)]
            for i in (i for i in range(n) if state[i] is None):
                found, should = number(conditional(state, i)), mass[2 * i + 1] / (mass[2 * i] + mass[2 * i + 1])
                assert close(found, should), f"state {state}, pixel {i}: {found:.6f} in place of {should:.6f}"


def of_joint(joint):
    """The right `exact`."""
    def conditional(state, i):
        fits = {x: p for x, p in joint.items() if all(s is None or s == v for s, v in zip(state, x))}
        return sum(p for x, p in fits.items() if x[i] == 1) / sum(fits.values())
    return conditional


def in_steps(case, shown, factor=log_of):
    """`log_prob_of` that shows the model, for the k-th pixel of the order, the pixels shown(order, k)."""
    return lambda conditional, x, order: sum(
        factor(tempered(conditional(tuple(v if j in shown(order, k) else None for j, v in enumerate(x)), i), case.tau), x[i])
        for k, i in enumerate(order))


@table.mistake("The pixel is shown to the model before the model is asked about it. The question has to come first.")
def shown_too_early(case):
    return {"log_prob_of": in_steps(case, lambda order, k: order[:k + 1]), "exact": of_joint}


@table.mistake("The model is asked about every pixel of a blank picture: what is revealed has to be shown in the next questions.")
def blank(case):
    return {"log_prob_of": in_steps(case, lambda order, k: ()), "exact": of_joint}


@table.mistake("The pixels are revealed from left to right. `order` says which comes first, and may differ from that.")
def raster(case):
    right = in_steps(case, lambda order, k: order[:k])
    return {"log_prob_of": lambda conditional, x, order: right(conditional, x, tuple(range(len(x)))), "exact": of_joint}


@table.mistake("The order is walked from its end: `order[0]` is the pixel that is revealed first.")
def backwards(case):
    return {"log_prob_of": in_steps(case, lambda order, k: order[k + 1:]), "exact": of_joint}


@table.mistake("The model gives the probability of a 1. A pixel that is 0 has the rest of the probability.")
def always_one(case):
    return {"log_prob_of": in_steps(case, lambda order, k: order[:k], lambda p, level: math.log(p)), "exact": of_joint}


@table.mistake("`exact` looks at pixel i alone. What is shown of the other pixels changes its probability.")
def marginal(case):
    return {"log_prob_of": in_steps(case, lambda order, k: order[:k]),
            "exact": lambda joint: lambda state, i: sum(p for x, p in joint.items() if x[i] == 1)}


@table.mistake("`exact` adds up the pictures that fit and have a 1 at pixel i. This is a joint probability, and not yet a conditional one.")
def unnormalised(case):
    return {"log_prob_of": in_steps(case, lambda order, k: order[:k]),
            "exact": lambda joint: lambda state, i: sum(p for x, p in joint.items()
                                                        if x[i] == 1 and all(s is None or s == v for s, v in zip(state, x)))}


# Find and fix: three likelihoods that are none


bugs = Task(
    "ar-bugs",
    ("mended_order", "mended_masks"),
    minutes=25,
    difficulty=2,
    example="mended_masks(lambda state: arbitrary[number[state]], (0, 1, 2))",
    vary={"given": (None, 0, 1, 2)},
    twist="In your version pixel {given} is given, and the two others are a hole to be filled. Both functions return the log probability of the "
          "others *given* that pixel, which is shown from the start; `x` still holds all pixels. `order` lists the others alone, and `mended_masks` "
          "returns the mean over all orders of the others.",
)
K, D = 3, 3


def net_of(case, stream):
    """A network with arbitrary answers, which repeats the pixels that it can see."""
    free = (2 * case.normal(4**3, 3, 3, stream=stream)).softmax(-1)

    def net(state):
        p = free[sum(v * 4**k for k, v in enumerate(state))].clone()
        for i, v in enumerate(state):
            if v < K:
                p[i] = torch.where(torch.arange(K) == v, 0.99, 0.005).double()
        return p

    return net


def others(case):
    return [i for i in range(D) if i != case.given]


def masked(x, hidden):
    return tuple(K if i in hidden else v for i, v in enumerate(x))


def by_order(net, x, order):
    """log p of the pixels in `order`, the rest of x being given: the oracle of both functions."""
    return sum(float(net(masked(x, order[k:]))[i, x[i]].log()) for k, i in enumerate(order))


def some_orders(case):
    return list(itertools.permutations(others(case)))[::2]


@bugs.part(1, "in each order, the probabilities of all pictures sum to 1, and the orders differ")
def proper(answers, case):
    net, found = net_of(case, 1), []
    all_pictures = [x for x in itertools.product(range(K), repeat=D) if case.given is None or x[case.given] == 1]
    for order in [*some_orders(case), tuple(others(case)[::-1])]:
        found.append([number(answers.mended_order(net, x, order)) for x in all_pictures])
        total = sum(map(math.exp, found[-1]))
        assert close(total, 1), f"order {order}: the probabilities of all pictures sum to {total:.4f}"
    apart = max(abs(a - b) for a, b in zip(found[0], found[-1]))
    assert apart > 1e-3, "this network's orders disagree, and `mended_order` gives the same for an order and its reverse"


@bugs.part(2, "an order's likelihood is the product of what the network says, each pixel after those before it")
def product(answers, case):
    for k in range(4):
        net, order = net_of(case, 10 + k), some_orders(case)[k % len(some_orders(case))]
        x = tuple(case.uniform(D, high=3, stream=20 + k).long().tolist())
        found, should = number(answers.mended_order(net, x, order)), by_order(net, x, order)
        assert close(found, should), f"x = {x}, order {order}: {found:.6f} in place of {should:.6f}"


@bugs.part(2, "the average over masks is the mean over all orders")
def mean_over_orders(answers, case):
    for k in range(8):
        net, x = net_of(case, 30 + k), tuple(case.uniform(D, high=3, stream=40 + k).long().tolist())
        orders = list(itertools.permutations(others(case)))
        found, should = number(answers.mended_masks(net, x)), sum(by_order(net, x, order) for order in orders) / len(orders)
        assert close(found, should), f"x = {x}: {found:.6f}, and the mean over the orders is {should:.6f}"


def over_masks(case, weight, count=lambda hidden: hidden):
    """A mean over masks: weight(m, n) times the log probabilities of the pixels count(hidden)."""
    def mended_masks(net, x):
        free, total = others(case), 0.0
        for m in range(1, len(free) + 1):
            masks = list(itertools.combinations(free, m))
            for mask in masks:
                p = net(masked(x, mask))
                total += weight(m, len(free)) * sum(float(p[i, x[i]].log()) for i in count(mask)) / len(masks) / len(free)
        return total
    return mended_masks


def right_masks(case):
    return over_masks(case, lambda m, n: n / m)


@bugs.mistake("The network is asked about a pixel that it has just been shown, and copies it. So nearly no bits are counted.")
def look_ahead(case):
    return {"mended_order": lambda net, x, order: sum(float(net(masked(x, order[k + 1:]))[i, x[i]].log()) for k, i in enumerate(order)),
            "mended_masks": right_masks(case)}


@bugs.mistake("Every pixel is asked about once all others are shown. In an order, most of the others are still hidden.")
def all_others(case):
    return {"mended_order": lambda net, x, order: sum(float(net(masked(x, (i,)))[i, x[i]].log()) for i in order), "mended_masks": right_masks(case)}


@bugs.mistake("The order is walked from its end: its first pixel has to be drawn when nothing else of it is shown.")
def reverse_order(case):
    return {"mended_order": lambda net, x, order: by_order(net, x, order[::-1]), "mended_masks": right_masks(case)}


@bugs.mistake("The log probabilities of the hidden pixels are added without a weight. A mask with few hidden pixels then counts too little.")
def no_weight(case):
    return {"mended_order": by_order, "mended_masks": over_masks(case, lambda m, n: 1)}


@bugs.mistake("The weight is upside down: with m hidden pixels of n, their mean log probability has to count n times, not their sum m / n times.")
def upside_down(case):
    return {"mended_order": by_order, "mended_masks": over_masks(case, lambda m, n: m / n)}


@bugs.mistake("Pixels that are shown are counted as well. They are copied at almost no cost, and dilute the sum.")
def counts_shown(case):
    return {"mended_order": by_order, "mended_masks": over_masks(case, lambda m, n: 1, lambda mask: others(case))}


@bugs.mistake("The weight is right, but masks of every size are added up where their mean over the sizes belongs.")
def sum_over_sizes(case):
    return {"mended_order": by_order, "mended_masks": over_masks(case, lambda m, n: n * n / m)}


@bugs.mistake("Every set of hidden pixels counts alike. The number m of hidden pixels has to be uniform, and most sets are of middling size.")
def every_mask_alike(case):
    def mended_masks(net, x):
        free = others(case)
        masks = [mask for m in range(1, len(free) + 1) for mask in itertools.combinations(free, m)]
        return sum(len(free) / len(mask) * float(net(masked(x, mask))[i, x[i]].log()) for mask in masks for i in mask) / len(masks)
    return {"mended_order": by_order, "mended_masks": mended_masks}


# Another clock for hiding


clock = Task(
    "ar-clock",
    ("hiding_bound",),
    minutes=30,
    difficulty=2,
    example="hiding_bound(lambda state, i: 0.3 + 0.2 * state.count(1), (1, 0, 1), [0.2, 0.5, 1.0])",
    vary={"power": (1, 2, 3, 4)},
    twist="In your version pixel 0 vanishes late: at time $t$ it is hidden with probability $h_t^{{{power}}}$, every other pixel with probability "
          "$h_t$ as before. So it tends to come back before the others do.",
)


def hidden_at(case, hide, t, i):
    """The probability that pixel i is hidden at time t = 0 .. T."""
    return 0.0 if t == 0 else hide[t - 1] ** (case.power if i == 0 else 1)


def by_times(case, conditional, x, hide):
    """The bound as a mean over the times at which the pixels vanish: pixels of one time are drawn together, later times before earlier ones."""
    n, total = len(x), 0.0
    for times in itertools.product(range(1, len(hide) + 1), repeat=n):
        p = math.prod(hidden_at(case, hide, t, i) - hidden_at(case, hide, t - 1, i) for i, t in enumerate(times))
        states = {t: tuple(v if times[j] > t else None for j, v in enumerate(x)) for t in set(times)}
        total += p * sum(log_of(conditional(states[t], i), x[i]) for i, t in enumerate(times)) if p else 0.0
    return total


def check_bound(answers, case, n, hide, stream):
    conditional = masked_model(case, n, stream=stream)
    for x in pictures(n)[:: max(1, 2 ** (n - 1) - 1)][:2]:
        found, should = number(answers.hiding_bound(conditional, x, hide)), by_times(case, conditional, x, hide)
        steps = ", ".join(f"{h:.3g}" for h in hide)
        assert close(found, should), f"n = {n}, hide = [{steps}]: {found:.6f} in place of {should:.6f}"


@clock.part(1, "with one step, all pixels are drawn at once")
def one_step(answers, case):
    for n in (1, 2, 3):
        check_bound(answers, case, n, [1.0], stream=n)


@clock.part(1, "h = t / T gives the right bound")
def even(answers, case):
    for n, T in ((2, 2), (2, 5), (3, 3)):
        check_bound(answers, case, n, [t / T for t in range(1, T + 1)], stream=10 + T)


@clock.part(2, "so does any other table")
def any_table(answers, case):
    for k, (n, T) in enumerate(((1, 4), (2, 2), (2, 5), (3, 2), (3, 4))):
        check_bound(answers, case, n, [*case.uniform(T - 1, low=0.05, high=0.95, stream=20 + k).sort().values.tolist(), 1.0], stream=30 + k)


@clock.part(1, "a step in which no pixel can vanish changes nothing, and others do")
def idle(answers, case):
    conditional, x = masked_model(case, 2, stream=40), (1, 0)
    a, b = case.uniform(2, low=0.1, high=0.9, stream=41).sort().values.tolist()
    plain, slow, one = (number(answers.hiding_bound(conditional, x, hide)) for hide in ([a, b, 1.0], [a, a, b, b, 1.0, 1.0], [1.0]))
    assert close(plain, slow), f"h = {a:.3f}, {b:.3f}, 1 gives {plain:.6f}, and {slow:.6f} when each is repeated"
    assert not close(plain, one, 1e-6), f"three steps give {plain:.6f}, and so does a single one"


def by_masks(case, weight, moment=0, log=log_of, count=lambda hidden, n: hidden, seen=lambda hidden, i: hidden, chance=None):
    """A bound of the form of the section's, with the masks at time t - moment: the mistakes differ in one of its pieces."""
    def hiding_bound(conditional, x, hide):
        total, n = 0.0, len(x)
        for t in range(1, len(hide) + 1):
            for m in range(1, n + 1):
                for hidden in itertools.combinations(range(n), m):
                    p = math.prod(hidden_at(case, hide, t - moment, i) if i in hidden else 1 - hidden_at(case, hide, t - moment, i) for i in range(n))
                    p = p if chance is None else chance(p, n)
                    for i in count(hidden, n):
                        state = tuple(None if j in seen(hidden, i) else v for j, v in enumerate(x))
                        total += p * weight(hidden_at(case, hide, t, i), hidden_at(case, hide, t - 1, i), t, m) * log(conditional(state, i), x[i])
        return total
    return hiding_bound


def comes_back(now, before, t, m):
    return (now - before) / now


@clock.mistake("The weight 1/t belongs to h = t/T. For another table, the probability that a hidden pixel comes back is another one.")
def weight_of_the_section(case):
    return by_masks(case, lambda now, before, t, m: 1 / t)


@clock.mistake("h_t - h_(t-1) is the probability that a pixel vanishes in step t. Wanted is that of a pixel that *is* hidden at t.")
def not_conditioned(case):
    return by_masks(case, lambda now, before, t, m: now - before)


@clock.mistake("This is how likely a pixel that is visible at t - 1 vanishes. The way back starts from a pixel that is hidden at t.")
def forward_rate(case):
    return by_masks(case, lambda now, before, t, m: (now - before) / (1 - before) if before < 1 else 0.0)


@clock.mistake("The masks are those of x_(t-1). The step from t to t - 1 is drawn from what is visible in x_t.")
def one_step_early(case):
    return by_masks(case, comes_back, moment=1)


@clock.mistake("The log probabilities of the hidden pixels are averaged. Each of them comes back, so they add up.")
def mean_of_hidden(case):
    return by_masks(case, lambda now, before, t, m: comes_back(now, before, t, m) / m)


@clock.mistake("Each pixel is asked about with all others shown. The others that are hidden at t stay hidden from the model.")
def sees_all_others(case):
    return by_masks(case, comes_back, seen=lambda hidden, i: (i,))


@clock.mistake("All sets of hidden pixels count alike. How likely a set is at time t depends on h_t.")
def masks_alike(case):
    return by_masks(case, comes_back, chance=lambda p, n: 1 / 2**n)


@clock.mistake("This is a cost in nats, which is positive. The bound is one on log p, a sum of logarithms of probabilities.")
def a_cost(case):
    return by_masks(case, comes_back, log=lambda p, level: -log_of(p, level))


# Fast without loss


fast = Task(
    "ar-fast",
    ("groups",),
    minutes=30,
    difficulty=3,
    example="groups(9)",
    vary={"reach": (1, 2, 3, 4)},
    twist="The row of your version has a longer memory: each pixel depends on the {reach} pixels to its left, and given these on nothing further "
          "left. `groups(n)` is asked for $n = {reach}\\,(2^k + 1)$ pixels, $k \\ge 0$, in at most ${reach}\\,(k + 2)$ calls.",
)


def leak(parts, reach):
    """Two pixels that are drawn together and depend on each other; None if there are none, and so nothing is lost.

    A pixel reaches past fewer than `reach` known pixels, so a part is drawn without loss if so many lie in a row between its neighbours.
    """
    known = set()
    for part in parts:
        for i, j in itertools.pairwise(sorted(part)):
            run = 0
            for pixel in range(i + 1, j):
                run = run + 1 if pixel in known else 0
                if run == reach:
                    break
            else:
                return i, j
        known |= set(part)
    return None


def no_leak(parts, n, reach):
    pair = leak(parts, reach)
    assert pair is None, f"n = {n}: pixels {pair[0]} and {pair[1]} are drawn together, and depend on each other"


def parts_of(answers, n):
    """What `groups(n)` gave, as lists of ints; every pixel is there once."""
    parts = answers.groups(n)
    lists = [part.tolist() if isinstance(part, torch.Tensor) and part.dim() == 1 else sequence(part) for part in sequence(parts)]
    lists = [[number(i) for i in part] for part in lists]
    assert sorted(itertools.chain(*lists)) == list(range(n)), f"n = {n}: not every pixel is drawn once"
    return [[int(i) for i in part] for part in lists]


@fast.part(2, "every pixel is drawn once, and nothing is lost")
def lossless(answers, case):
    for k in range(4):
        n = case.reach * (2**k + 1)
        no_leak(parts_of(answers, n), n, case.reach)


def in_few_calls(answers, case, sizes):
    for k in sizes:
        n, most = case.reach * (2**k + 1), case.reach * (k + 2)
        parts = parts_of(answers, n)
        no_leak(parts, n, case.reach)
        assert len(parts) <= most, f"n = {n}: {len(parts)} calls, and {most} are enough"


@fast.part(1, "for short rows, without loss, the calls are few enough")
def few_calls(answers, case):
    in_few_calls(answers, case, range(4))


@fast.part(2, "for long rows too")
def long_rows(answers, case):
    in_few_calls(answers, case, range(4, 9))


def halved(blocks):
    """Numbers 0 .. blocks - 1 in groups: the two ends one after the other, then the middles of all gaps together, and so on."""
    groups, width = [[0], [blocks - 1]], blocks - 1
    while width > 1:
        groups.append(list(range(width // 2, blocks, width)))
        width //= 2
    return groups


def spread_out(case, groups_of):
    """`groups` from groups_of(number of blocks): a block is `reach` pixels, which are drawn one after the other."""
    def groups(n):
        return [[block * case.reach + i for block in group] for group in groups_of(n // case.reach) for i in range(case.reach)]
    return groups


@fast.mistake("One pixel a call loses nothing and is slow. Look for pixels that do not depend on each other once others are known.")
def left_to_right(case):
    return lambda n: [[i] for i in range(n)]


@fast.mistake("This goes from coarse to fine, but draws one piece a call. Pieces with a known one between them can go together.")
def piece_by_piece(case):
    return spread_out(case, lambda blocks: [[i] for group in halved(blocks) for i in group])


@fast.mistake("All at once is fastest, and loses all that the pixels have to do with each other.")
def all_at_once(case):
    return lambda n: [list(range(n))]


@fast.mistake("The two ends are drawn together. They depend on each other through the row between them, of which nothing is known yet.")
def ends_together(case):
    return spread_out(case, lambda blocks: [sorted({0, blocks - 1}), *halved(blocks)[2:]])


@fast.mistake("The even ones are drawn in a single call. Two of them depend on each other through the unknown ones between.")
def every_second(case):
    return spread_out(case, lambda blocks: [list(range(0, blocks, 2)), list(range(1, blocks, 2))])


@fast.mistake("The finest gaps are filled first, when nothing around them is known. What separates has to be drawn before what it separates.")
def fine_first(case):
    return spread_out(case, lambda blocks: halved(blocks)[::-1])


@fast.mistake("The last piece is missing: n is one more than a power of 2 (times the reach), and both ends belong to the row.")
def end_missing(case):
    return spread_out(case, lambda blocks: [[0], *halved(blocks)[2:]])


@fast.mistake("From the middle outwards, two at a time, nothing is lost, but the calls are half of n. A call can do more than two pieces.")
def outwards(case):
    def groups_of(blocks):
        middle = blocks // 2
        return [[middle], *([middle - i, middle + i] for i in range(1, middle + 1))] if blocks > 2 else [[0], [1]]
    return spread_out(case, groups_of)


QUESTION = r"""
A colleague measures a network for any order on test pictures of 196 pixels with 8 levels. For each picture $x$ she draws 20 random orders,
computes the exact $\log_2 p_\sigma(x)$ of each, keeps the **largest** of the 20, and reports the mean of $-\max_\sigma \log_2 p_\sigma(x) / 196$
as the model's bits per dimension. She argues: "Each $p_\sigma$ is an exact model, so I always report an exact number."

1. Is her number the bits per dimension of a probability distribution over pictures? Give a reason that uses a sum over all pictures.
2. Give two ways to report a sound number from 20 orders, and say of each whether it is exact or a bound, and of what.
3. Suppose the 20 orders are the same for all pictures. By how much, in bits per dimension, can her number be lower than that of the model
   that draws one of the 20 at random and then follows it? When is the difference largest for a picture, and when is there none?
"""
RUBRIC = r"""
1 (2 points). No. For every order the probabilities of all pictures sum to 1. The largest of 20 is at least each of them, so the sum over
pictures is at least 1, and above 1 as soon as two orders disagree about a picture. One point for "the order is chosen after the picture has
been seen", without the sum.

2 (2 points, one each). Any two of these.
- One order, fixed beforehand or chosen on other pictures: exact, the likelihood of that order's model.
- The mean of the 20 log probabilities: a bound. It lies below the log likelihood of the mixture, so its bits are too many.
- The logarithm of the mean of the 20 probabilities, with 20 orders fixed beforehand: exact, for the mixture of these 20.
- Her number plus log2(20) / 196: an upper bound on the bits of that mixture; a file that also says which order was used would take as much.

No point for a number without saying of what it is a bound.

3 (2 points). The mean of 20 probabilities is at least 1/20 of the largest, so at most log2(20) / 196 = 0.022 bits per dimension. It is
largest where one order gives the picture far more than the 19 others do, and zero where all 20 agree, as they do for the conditionals of one
joint distribution. One point for the number, one for both ends.

Typical wrong answers: "every order is normalised, hence so is their maximum"; "the maximum is a bound", without saying on what; the number
without the division by 196.
"""
SET = ProblemSet("autoregressive", "Pixel by pixel, in any order", "02_concepts/03_autoregressive", SETUP, [table, bugs, clock, fast],
                 Essay(QUESTION.strip(), RUBRIC.strip(), 6, 20))
