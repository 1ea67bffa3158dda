"""Right answers of section 2.3, written in other ways than the book's."""

import itertools
import math
from functools import cache

import torch
import torch.nn.functional as F


# A masked model in a table

def by_log_odds(case):
    def log_prob_of(conditional, x, order):
        total, seen = torch.zeros((), dtype=torch.float64), {}
        for i in order:
            p = torch.tensor(conditional(tuple(seen.get(j) for j in range(len(x))), i), dtype=torch.float64)
            total += F.logsigmoid((2 * x[i] - 1) * torch.logit(p) / case.tau)
            seen[i] = x[i]
        return total

    def exact(joint):
        n = len(next(iter(joint)))
        p = torch.zeros((2,) * n, dtype=torch.float64)
        for x, value in joint.items():
            p[x] = value

        def conditional(state, i):
            fits = p[tuple(slice(None) if v is None else slice(v, v + 1) for v in state)].movedim(i, 0).reshape(2, -1).sum(1)
            return fits[1] / fits.sum()
        return conditional
    return {"log_prob_of": log_prob_of, "exact": exact}


def by_recursion(case):
    def log_prob_of(conditional, x, order):
        if not order:
            return 0.0
        *before, last = order
        weights = [1 - (p := conditional(tuple(v if i in before else None for i, v in enumerate(x)), last)), p]
        weights = [w ** (1 / case.tau) for w in weights]
        return math.log(weights[x[last]] / sum(weights)) + log_prob_of(conditional, x, before)

    def exact(joint):
        @cache
        def mass(state):
            if None not in state:
                return joint[state]
            i = state.index(None)
            return sum(mass((*state[:i], v, *state[i + 1:])) for v in (0, 1))
        return lambda state, i: mass((*state[:i], 1, *state[i + 1:])) / mass(tuple(state))
    return {"log_prob_of": log_prob_of, "exact": exact}


# Find and fix

def by_orders(case):
    def mended_order(net, x, order):
        hidden, factors = set(order), []
        for i in order:
            factors.append(net(tuple(3 if j in hidden else x[j] for j in range(3)))[i, x[i]])
            hidden.remove(i)
        return torch.stack(factors).log().sum()

    def mended_masks(net, x):
        orders = list(itertools.permutations(i for i in range(3) if i != case.given))
        return sum(mended_order(net, x, order) for order in orders) / len(orders)
    return {"mended_order": mended_order, "mended_masks": mended_masks}


def by_states(case):
    def mended_order(net, x, order):
        return sum(math.log(net(tuple(v if j not in order[k:] else 3 for j, v in enumerate(x)))[i][x[i]]) for k, i in enumerate(order))

    def mended_masks(net, x):
        def still(hidden):                      # the mean over orders of what is left, by which pixel comes next
            if not hidden:
                return 0.0
            p = net(tuple(3 if j in hidden else v for j, v in enumerate(x)))
            return sum(math.log(p[i][x[i]]) + still(hidden - {i}) for i in hidden) / len(hidden)
        return still(frozenset(range(3)) - {case.given})
    return {"mended_order": mended_order, "mended_masks": mended_masks}


# Another clock for hiding

def at(case, hide, t, i):
    return 0.0 if t < 0 else hide[t] ** case.power if i == 0 else hide[t]


def by_vanishing_times(case):
    def hiding_bound(conditional, x, hide):
        total, n = 0.0, len(x)
        for times in itertools.product(range(len(hide)), repeat=n):
            chance = math.prod(at(case, hide, t, i) - at(case, hide, t - 1, i) for i, t in enumerate(times))
            for i in range(n):
                p = conditional(tuple(None if t <= times[i] else v for v, t in zip(x, times)), i)
                total += chance * math.log(p if x[i] else 1 - p)
        return total
    return hiding_bound


def by_walking_back(case):
    def hiding_bound(conditional, x, hide):
        """The mean of what the reverse chain earns: a distribution over the sets of hidden pixels, walked from blank to the picture."""
        n = len(x)
        masses, total = {frozenset(range(n)): 1.0}, 0.0
        for t in reversed(range(len(hide))):
            earlier = {}
            for hidden, mass in masses.items():
                state = tuple(None if i in hidden else v for i, v in enumerate(x))
                back = {i: 1 - at(case, hide, t - 1, i) / at(case, hide, t, i) for i in hidden}
                for i in hidden:
                    p = conditional(state, i)
                    total += mass * back[i] * math.log(p if x[i] else 1 - p)
                for m in range(len(hidden) + 1):
                    for staying in itertools.combinations(sorted(hidden), m):
                        chance = math.prod(1 - back[i] if i in staying else back[i] for i in hidden)
                        earlier[frozenset(staying)] = earlier.get(frozenset(staying), 0.0) + mass * chance
            masses = earlier
        return total
    return hiding_bound


# Fast without loss

def in_blocks(case, groups):
    return lambda n: [[case.reach * block + i for block in group] for group in groups(n // case.reach) for i in range(case.reach)]


def by_powers_of_two(case):
    """The number of times that 2 divides a block's number says when it is drawn; the left end last but one, the right end first."""
    def groups(n):
        whole = n - 1
        by_power = {}
        for i in range(1, whole):
            by_power.setdefault(i & -i, []).append(i)
        return [[whole], [0], *(by_power[power] for power in sorted(by_power, reverse=True))]
    return in_blocks(case, groups)


def middle_first(case):
    """The middle separates the two ends, so they can be drawn together: a call less."""
    def groups(n):
        if n == 2:
            return [[0], [1]]
        found, gaps = [[n // 2], [0, n - 1]], [(0, n // 2), (n // 2, n - 1)]
        while gaps[0][1] - gaps[0][0] > 1:
            found.append([(a + b) // 2 for a, b in gaps])
            gaps = [gap for a, b in gaps for gap in ((a, (a + b) // 2), ((a + b) // 2, b))]
        return found
    return in_blocks(case, groups)


RIGHT = {"ar-table": [by_log_odds, by_recursion], "ar-bugs": [by_orders, by_states], "ar-clock": [by_vanishing_times, by_walking_back],
         "ar-fast": [by_powers_of_two, middle_first]}
