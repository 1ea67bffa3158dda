"""Graders of section 5.1, DDPM in PyTorch."""

import copy
from itertools import product

import torch

from ..task import Essay, ProblemSet, Task, close, number, sequence, tensor

SETUP = """\
import copy
import math

import torch
import torch.nn.functional as F
from torch import nn
"""


# Pixel-unshuffle and its inverse

fold = Task(
    "practice-fold",
    ("fold", "unfold"),
    minutes=10,
    difficulty=1,
    example="fold(torch.arange(16.0).reshape(1, 1, 4, 4), 2)",
    vary={"order": ("c, i, j", "i, j, c", "j, i, c", "c, j, i")},
    twist="Libraries disagree about the order. The folded channels of your version are sorted by $({order})$ in place of $(c, i, j)$: "
          "the first of the three changes slowest from channel to channel, the last one fastest.",
)


def sorted_by(order, C, p):
    """The (c, i, j) of the folded channels, in their order."""
    at = ["cij".index(letter) for letter in order.split(", ")]
    return sorted(product(range(C), range(p), range(p)), key=lambda triple: [triple[k] for k in at])


def folded(x, p, order):
    return torch.stack([x[:, c, i::p, j::p] for c, i, j in sorted_by(order, x.shape[1], p)], 1)


def unfolded(y, p, order):
    C = y.shape[1] // p**2
    x = y.new_empty(len(y), C, y.shape[2] * p, y.shape[3] * p)
    for k, (c, i, j) in enumerate(sorted_by(order, C, p)):
        x[:, c, i::p, j::p] = y[:, k]
    return x


def pictures(case):
    """Pictures and patch sizes. The sides are all different, so that no two axes can be mistaken for each other unseen."""
    return [(case.normal(2, C, H, W, stream=k), p) for k, (C, H, W, p) in enumerate([(1, 4, 6, 2), (3, 8, 12, 2), (2, 9, 6, 3), (5, 8, 20, 4)])]


def fold_of(answers, x, p):
    N, C, H, W = x.shape
    return tensor(answers.fold(x, p), N, C * p * p, H // p, W // p)


@fold.part(1, "each position of the folded picture holds exactly one patch")
def one_patch(answers, case):
    for x, p in pictures(case):
        found, wanted = (y.sort(1).values for y in (fold_of(answers, x, p), folded(x, p, case.order)))
        wrong = (found != wanted).any(1).nonzero()
        assert not len(wrong), f"{tuple(x.shape)}, p = {p}: position {tuple(wrong[0, 1:].tolist())} holds other numbers than its patch"


@fold.part(2, "the channels are in the order that is asked for")
def channel_order(answers, case):
    for x, p in pictures(case):
        found, triples = fold_of(answers, x, p), sorted_by(case.order, x.shape[1], p)
        for k, (c, i, j) in enumerate(triples):
            assert torch.equal(found[:, k], x[:, c, i::p, j::p]), f"{tuple(x.shape)}, p = {p}: channel {k} is not (c, i, j) = {(c, i, j)}"


@fold.part(1, "unfold undoes fold, and spreads each position over its own patch")
def undone(answers, case):
    for x, p in pictures(case):
        y = fold_of(answers, x, p)
        assert torch.equal(tensor(answers.unfold(y, p), *x.shape), x), f"{tuple(x.shape)}, p = {p}: unfold does not give back what was folded"
        painted = y[:, :1].expand_as(y)                              # one colour a position
        found, wanted = tensor(answers.unfold(painted, p), *x.shape), y[:, :1].repeat_interleave(p, 2).repeat_interleave(p, 3).expand_as(x)
        assert torch.equal(found, wanted), f"{tuple(x.shape)}, p = {p}: the numbers of a position leave its patch"


def both(order):
    """A pair of functions that is right for the order."""
    return {"fold": lambda x, p: folded(x, p, order), "unfold": lambda y, p: unfolded(y, p, order)}


@fold.mistake("A single `reshape` keeps all numbers in their order in memory: it cuts rows into pieces, and no patch stays together.")
def reshape_only(case):
    def fold(x, p):
        N, C, H, W = x.shape
        return x.reshape(N, C * p * p, H // p, W // p)

    def unfold(y, p):
        N, C, H, W = y.shape
        return y.reshape(N, C // p**2, H * p, W * p)

    return {"fold": fold, "unfold": unfold}


@fold.mistake("The patches are right, and rows and columns inside a patch are exchanged: look at which of i and j changes faster.")
def rows_for_columns(case):
    return both(case.order.translate(str.maketrans("ij", "ji")))


@fold.mistake("The patches are right, and the channel of the picture stands at the wrong end: does c change slower than i and j, or faster?")
def channel_at_the_other_end(case):
    inside = ", ".join(letter for letter in case.order.split(", ") if letter != "c")
    return both(f"{inside}, c" if case.order.startswith("c") else f"c, {inside}")


@fold.mistake("Each axis of the picture is split the wrong way round: the index inside a patch is the one that changes fastest along the axis.")
def far_pixels(case):
    def apart(x, p):                                                 # brings pixels that lie a p-th of the side apart into one patch
        N, C, H, W = x.shape
        return x.reshape(N, C, p, H // p, p, W // p).permute(0, 1, 3, 2, 5, 4).reshape(x.shape)

    def together(x, p):
        N, C, H, W = x.shape
        return x.reshape(N, C, H // p, p, W // p, p).permute(0, 1, 3, 2, 5, 4).reshape(x.shape)

    return {"fold": lambda x, p: folded(apart(x, p), p, case.order), "unfold": lambda y, p: together(unfolded(y, p, case.order), p)}


@fold.mistake("`fold` is right. `unfold` takes rows of a patch for columns: its permutation has to be the inverse of the one of `fold`.")
def unfolds_otherwise(case):
    return {**both(case.order), "unfold": rows_for_columns(case)["unfold"]}


@fold.mistake("The grid of patches has been turned on its side: rows of patches must stay rows.")
def grid_turned(case):
    return {"fold": lambda x, p: folded(x, p, case.order).transpose(2, 3), "unfold": lambda y, p: unfolded(y.transpose(2, 3), p, case.order)}


# An exponential moving average of weights, which leaves everything else alone

ema = Task(
    "practice-ema",
    ("MyEMA",),
    minutes=15,
    difficulty=2,
    example="MyEMA(nn.Linear(1, 1), 0.9).shadow.weight",
    vary={"rise": (0, 3, 20, 40)},
    twist="Let the decay of your version rise, so that the start is soon forgotten: call number $k = 1, 2, \\dots$ of `update` uses "
          "$d_k = \\min(d, (1 + k) / ({rise} + k))$ in the place of $d$. The shadow is then $s_k = d_k s_{{k-1}} + (1 - d_k) w_k$.",
    harness='''
import torch as _torch


class _Net(_torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = _torch.nn.Parameter(_torch.zeros(3, dtype=_torch.float64))
        self.inner = _torch.nn.Module()
        self.inner.register_buffer("table", _torch.zeros(2))
        self.inner.scale = _torch.nn.Parameter(_torch.zeros((), dtype=_torch.float64))
        self.register_buffer("count", _torch.tensor(0))

    def fill(self, values, table, count):
        with _torch.no_grad():
            self.w.copy_(values[:3])
            self.inner.scale.copy_(values[3])
            self.inner.table.copy_(table)
            self.count.fill_(count)

    def read(self):
        return {"weights": _torch.cat([self.w, self.inner.scale[None]]).detach().clone(), "table": self.inner.table.clone(),
                "count": self.count.clone(), "trains": [p.requires_grad for p in self.parameters()]}


def averaged(weights, tables, counts, decay):
    """Fill a network with row 0 and make its average; with each later row fill it, and update. What network and shadow hold, at each stage."""
    net = _Net()
    net.fill(weights[0], tables[0], counts[0])
    average = MyEMA(net, decay)
    found = {"start": average.shadow.read(), "waiting": [], "shadow": [], "net": []}
    for values, table, count in zip(weights[1:], tables[1:], counts[1:]):
        net.fill(values, table, count)
        found["waiting"].append(average.shadow.read())
        average.update(net)
        found["shadow"].append(average.shadow.read())
        found["net"].append(net.read())
    return found
''',
)


def wander(case, K):
    """Weights (K + 1, 4) that wander, tables (K + 1, 2) and counts of a network in training."""
    return case.normal(K + 1, 4).cumsum(0), (0.1 * case.normal(K + 1, 2, stream=1)).cumsum(0).float(), list(range(5, 6 + K))


def shadows(decay, weights, rise):
    """s_0, s_1, .. from w_0, w_1, .."""
    s = [weights[0]]
    for k, w in enumerate(weights[1:], 1):
        d = min(decay, (1 + k) / (rise + k))
        s.append(d * s[-1] + (1 - d) * w)
    return s


@ema.part(3, "the shadow follows its equation at every update, whether the weights rest or move")
def equation(answers, case):
    weights, tables, counts = wander(case, 30)
    for decay in (0.0, 0.3, 0.9):
        for name, path in (("rest", weights[:1].expand(31, -1)), ("move", weights)):
            found = answers.averaged(path, tables, counts, decay)
            for k, (wanted, read) in enumerate(zip(shadows(decay, path, case.rise)[1:], found["shadow"], strict=True), 1):
                gap = float((read["weights"] - wanted).abs().max())
                assert close(read["weights"], wanted, 1e-11), f"the weights {name}, d = {decay}: after {k} updates the shadow is off by {gap:.2g}"


@ema.part(2, "buffers of the shadow are the network's, those that hold integers too")
def buffers(answers, case):
    weights, tables, counts = wander(case, 10)
    found = answers.averaged(weights, tables, counts, 0.9)
    before = [found["start"], *found["shadow"]]
    for k, (read, waiting) in enumerate(zip(found["shadow"], found["waiting"], strict=True), 1):
        assert torch.equal(waiting["table"], before[k - 1]["table"]), f"update {k}: the shadow's table changed before it was updated"
        assert torch.equal(read["table"], tables[k]), f"update {k}: the table of the network is {tables[k]}, the shadow's is {read['table']}"
        assert read["count"] == counts[k], f"update {k}: the counter of the network is {counts[k]}, the shadow's is {int(read['count'])}"


@ema.part(1, "the network is not touched and goes on training; the shadow moves and does not train")
def untouched(answers, case):
    weights, tables, counts = wander(case, 10)
    found = answers.averaged(weights, tables, counts, 0.9)
    for k, (net, waiting, shadow) in enumerate(zip(found["net"], found["waiting"], found["shadow"], strict=True), 1):
        assert torch.equal(net["weights"], weights[k]) and torch.equal(net["table"], tables[k]), f"update {k} changed the network"
        assert all(net["trains"]), f"after update {k} the network does not train any more"
        assert not any(shadow["trains"]), f"after update {k} parameters of the shadow ask for gradients"
        assert not torch.equal(waiting["weights"], shadow["weights"]), f"update {k} does not move the shadow"


def frozen(net):
    return copy.deepcopy(net).eval().requires_grad_(False)


def towards(shadow, net, d):
    for ours, theirs in zip(shadow.parameters(), net.parameters(), strict=True):
        ours.copy_(d * ours + (1 - d) * theirs)


def average(case, start=frozen, weight=lambda d: d, move=towards, copies=True):
    """A class like `MyEMA`, right but for what is given: how it starts, the weight of the past for a decay, what an update does."""

    class MyEMA:
        def __init__(self, net, decay):
            self.shadow, self.decay, self.k = start(net), decay, 0

        @torch.no_grad()
        def update(self, net):
            self.k += 1
            move(self.shadow, net, weight(min(self.decay, (1 + self.k) / (case.rise + self.k))))
            if copies:
                for ours, theirs in zip(self.shadow.buffers(), net.buffers(), strict=True):
                    ours.copy_(theirs)

    return MyEMA


@ema.mistake("A loop over `state_dict()` averages tables and counters as well. Only parameters have a meaningful average.")
def averages_everything(case):
    def everything(shadow, net, d):
        for ours, theirs in zip(shadow.state_dict().values(), net.state_dict().values(), strict=True):
            ours.copy_(d * ours + (1 - d) * theirs)
    return average(case, move=everything, copies=False)


@ema.mistake("Integers are copied, and tables with fractions are still averaged. Whether a tensor is trained does not show in its dtype.")
def averages_fractions(case):
    def by_dtype(shadow, net, d):
        for ours, theirs in zip(shadow.state_dict().values(), net.state_dict().values(), strict=True):
            ours.copy_(d * ours + (1 - d) * theirs if theirs.is_floating_point() else theirs)
    return average(case, move=by_dtype, copies=False)


@ema.mistake("Tables with fractions are copied, and counters are left behind: a buffer may hold integers.")
def forgets_integers(case):
    def and_fractions(shadow, net, d):
        towards(shadow, net, d)
        for ours, theirs in zip(shadow.buffers(), net.buffers(), strict=True):
            if theirs.is_floating_point():
                ours.copy_(theirs)
    return average(case, move=and_fractions, copies=False)


@ema.mistake("The weights are averaged as they should be, and the buffers of the shadow stay what they were at the start.")
def forgets_buffers(case):
    return average(case, copies=False)


@ema.mistake("The roles of d and 1 - d are exchanged: with a decay near 1 the shadow should move slowly.")
def hurries(case):
    return average(case, weight=lambda d: 1 - d)


@ema.mistake("The shadow is the network itself under a second name, so an update averages it with itself.")
def alias(case):
    return average(case, start=lambda net: net)


@ema.mistake("The average starts from zeros. Then it is too small until the start is forgotten: let it start from the weights that it is given.")
def from_zero(case):
    def zeros(net):
        shadow = frozen(net)
        for p in shadow.parameters():
            p.zero_()
        return shadow
    return average(case, start=zeros)


@ema.mistake("The average itself is right. A copy of a network also copies that its parameters ask for gradients.")
def trains(case):
    return average(case, start=copy.deepcopy)


@ema.mistake("The network itself was told to ask for no gradients, so it has stopped training. Only its copy should.")
def freezes_the_network(case):
    return average(case, start=lambda net: copy.deepcopy(net.requires_grad_(False)))


@ema.mistake("An assignment to the variable of a loop gives a name to a new tensor. The weights in the shadow stay as they are: write into them.")
def rebinds(case):
    return average(case, move=lambda shadow, net, d: None)


@ema.mistake("The update writes the average into the network that is being trained: the training is then another one.")
def writes_back(case):
    def into_the_network(shadow, net, d):
        towards(shadow, net, d)
        for ours, theirs in zip(shadow.parameters(), net.parameters(), strict=True):
            theirs.copy_(ours)
    return average(case, move=into_the_network)


# The order of the rows of a layer that makes queries, keys and values

qkv = Task(
    "practice-qkv",
    ("to_new_order",),
    minutes=15,
    difficulty=2,
    example="to_new_order(torch.arange(12), 2)",
    vary={"order": ("head, part, channel", "head, channel, part", "channel, head, part", "channel, part, head")},
    twist="The rows of your version's checkpoint are in yet another order. They are sorted by ({order}), where part is one of $q$, $k$, $v$: "
          "the first of the three changes slowest from row to row, the last one fastest. The new order is, as before, (part, head, channel).",
)
NEW = "part, head, channel"
SIZES = ((1, 5), (2, 4), (3, 4), (4, 2), (5, 3))                     # heads, channels of a head


def rows_sorted_by(order, heads, size):
    """The (part, head, channel) of the 3 C rows, in their order."""
    at = [("part", "head", "channel").index(word) for word in order.split(", ")]
    return sorted(product(range(3), range(heads), range(size)), key=lambda row: [row[k] for k in at])


def taken(old, new, heads, size):
    """For each row in the order `new`, its place in the order `old`."""
    place = {row: k for k, row in enumerate(rows_sorted_by(old, heads, size))}
    return torch.tensor([place[row] for row in rows_sorted_by(new, heads, size)])


def order_of(answers, heads, size):
    """The places the rows of a bias are taken from."""
    found = answers.to_new_order(torch.arange(3 * heads * size), heads)
    return tensor(found, 3 * heads * size).long()


@qkv.part(1, "rows are moved, nothing else: each once, a weight's as a bias's")
def moved(answers, case):
    for heads, size in SIZES[1:]:
        C = heads * size
        found = order_of(answers, heads, size)
        assert torch.equal(found.sort().values, torch.arange(3 * C)), f"{heads} heads of {size}: some rows are missing or come twice"
        assert not torch.equal(found, torch.arange(3 * C)), f"{heads} heads of {size}: nothing is moved"
        for shape in ((3 * C, 7), (3 * C, C, 1, 1)):
            weight = case.normal(*shape)
            other = tensor(answers.to_new_order(weight, heads), *shape)
            assert torch.equal(other, weight[found]), f"{heads} heads of {size}: the rows of a weight {shape} do not move as those of a bias do"


@qkv.part(1, "all queries come first, then all keys, then all values")
def thirds(answers, case):
    for heads, size in SIZES:
        rows = rows_sorted_by(case.order, heads, size)
        parts = ["qkv"[rows[k][0]] for k in order_of(answers, heads, size).tolist()]
        third = len(parts) // 3
        for k, part in enumerate("qkv"):
            found = sorted(set(parts[k * third : (k + 1) * third]))
            assert found == [part], f"{heads} heads of {size}: third {k + 1} of the rows should be {part}, and has {', '.join(found)}"


def attention(x, weight, bias, places, heads):
    """What attention makes of x (channels, positions); places are those of the rows in the order (part, head, channel)."""
    q, k, v = (weight @ x + bias[:, None])[places].reshape(3, heads, -1, x.shape[1])
    weights = (torch.einsum("hdi,hdj->hij", q, k) / q.shape[1] ** 0.5).softmax(-1)
    return torch.einsum("hij,hdj->hdi", weights, v).flatten(0, 1)


@qkv.part(2, "attention with the rows in the new order does what it did with the old ones")
def same_attention(answers, case):
    for heads, size in SIZES:
        C = heads * size
        x, weight, bias = case.normal(C, 6), case.normal(3 * C, C, stream=1), case.normal(3 * C, stream=2)
        wanted = attention(x, weight, bias, taken(case.order, NEW, heads, size), heads)
        weight, bias = tensor(answers.to_new_order(weight, heads), 3 * C, C), tensor(answers.to_new_order(bias, heads), 3 * C)
        found = attention(x, weight, bias, torch.arange(3 * C), heads)
        gap = float((found - wanted).abs().max())
        assert close(found, wanted), f"{heads} heads of {size}: the output of attention changes by {gap:.2g}"


def reordered(old, new):
    """Rows from the order `old` to the order `new`."""
    return lambda rows, heads: rows[taken(old, new, heads, len(rows) // 3 // heads)]


@qkv.mistake("This is the way back, from the new order to the old one. With three heads the two are easily confused.")
def way_back(case):
    return reordered(NEW, case.order)


@qkv.mistake("Reshaping alone moves no row: the rows that come out are in the order in which they went in.")
def nothing_moved(case):
    return lambda rows, heads: rows.reshape(3, heads, -1, *rows.shape[1:]).reshape(rows.shape)


@qkv.mistake("Queries, keys and values are told apart, and in each of the three thirds heads and channels are mixed up.")
def heads_scattered(case):
    return reordered(case.order, "part, channel, head")


@qkv.mistake("The bias is mended and the weight is not: both have one row for each channel that they make.")
def bias_only(case):
    return lambda rows, heads: rows if rows.dim() > 1 else reordered(case.order, NEW)(rows, heads)


@qkv.mistake("Some rows come twice and others are lost: look at what is taken for the values.")
def keys_twice(case):
    def to_new_order(rows, heads):
        q, k, _ = reordered(case.order, NEW)(rows, heads).chunk(3)
        return torch.cat([q, k, k])
    return to_new_order


@qkv.mistake("The order in which the rows come is taken for another one. Write down which row is number 0, 1, 2, .. for two heads of size two.")
def misread(case):
    orders = qkv.vary["order"]
    return reordered(orders[(orders.index(case.order) + 1) % len(orders)], NEW)


@qkv.mistake("Heads are in place, and the three parts are not: the new order has queries first, keys second, values third.")
def keys_first(case):
    def to_new_order(rows, heads):
        q, k, v = reordered(case.order, NEW)(rows, heads).chunk(3)
        return torch.cat([k, q, v])
    return to_new_order


# Two averages, combined so that they do not lag

lag = Task(
    "practice-lag",
    ("coefficients", "variance_left"),
    minutes=25,
    difficulty=3,
    example="coefficients(0.9, 0.99), variance_left(0.9, 0.99)",
    vary={"ahead": (0, 5, 10, 20)},
    twist="Your version looks ahead. Its combination must be the weight that will be reached {ahead} updates *after* the last one, if the weight "
          "stays at rest or goes on in its straight line. `variance_left` is the variance of that combination.",
)


def decays(case):
    low = case.uniform(3, low=0.3, high=0.93).tolist()
    high = case.uniform(3, low=0.94, high=0.985, stream=1).tolist()
    return [(0.9, 0.99), (0.5, 0.9), (0.95, 0.98), *zip(low, high, strict=True)]


def last(path, d):
    """The average at the end of a path of weights (n,) that it started on."""
    weights = (1 - d) * d ** torch.arange(len(path) - 1, -1, -1, dtype=torch.float64)
    weights[0] = d ** (len(path) - 1)
    return float(weights @ path)


def pair(answers, d1, d2):
    return [number(c) for c in sequence(answers.coefficients(d1, d2), 2)]


def off(answers, d1, d2, start, slope, ahead, n=4000):
    """How far the combination is from a weight that moved from `start` by `slope` an update."""
    path = start + slope * torch.arange(n, dtype=torch.float64)
    c1, c2 = pair(answers, d1, d2)
    return c1 * last(path, d1) + c2 * last(path, d2) - float(path[-1] + slope * ahead)


@lag.part(1, "a weight at rest is found exactly, by coefficients that suit the decays")
def rest(answers, case):
    for k, (d1, d2) in enumerate(decays(case)):
        for start in case.normal(2, stream=k).tolist():
            gap = off(answers, d1, d2, start, 0.0, case.ahead)
            assert close(gap, 0, 1e-9), f"d = {d1:.3g}, {d2:.3g}: a weight that rests at {start:.2g} is missed by {gap:.2g}"
    assert not close(pair(answers, 0.9, 0.99), pair(answers, 0.5, 0.9), 1e-3), "the coefficients for two pairs of decays are the same"


@lag.part(2, "a weight in a straight line is found exactly")
def line(answers, case):
    for d1, d2 in decays(case):
        for start, slope in ((-1.0, 0.01), (5.0, -3.0)):
            gap = off(answers, d1, d2, start, slope, case.ahead)
            assert close(gap, 0, 1e-6), f"d = {d1:.3g}, {d2:.3g}: a weight that moves by {slope} an update is missed by {gap:.3g}"


@lag.part(2, "variance_left is the share of the variance of independent noise that the combination keeps")
def price(answers, case):
    j = torch.arange(4000, dtype=torch.float64)
    for d1, d2 in decays(case):
        c1, c2 = pair(answers, d1, d2)
        gap = off(answers, d1, d2, 0.0, 1.0, case.ahead)
        assert close(gap, 0, 1e-6), f"d = {d1:.3g}, {d2:.3g}: the combination misses a moving weight, so its variance is of no interest"
        wanted = float(((c1 * (1 - d1) * d1**j + c2 * (1 - d2) * d2**j) ** 2).sum())       # how each past weight enters
        found = number(answers.variance_left(d1, d2))
        assert close(found, wanted, 1e-6 * wanted), f"d = {d1:.3g}, {d2:.3g}: {wanted:.4f} of the variance is left, not {found:.4f}"


def kept(c, d):
    """The share of the variance that c[0] s1 + c[1] s2 keeps, covariance included."""
    return sum(c[i] * c[j] * (1 - d[i]) * (1 - d[j]) / (1 - d[i] * d[j]) for i in (0, 1) for j in (0, 1))


def by_lags(case, lag=lambda d: d / (1 - d), pick=lambda lag1, lag2, ahead: ((lag2 + ahead) / (lag2 - lag1), -(lag1 + ahead) / (lag2 - lag1)),
            cost=kept):
    def coefficients(d1, d2):
        return pick(lag(d1), lag(d2), case.ahead)

    return {"coefficients": coefficients, "variance_left": lambda d1, d2: cost(coefficients(d1, d2), (d1, d2))}


@lag.mistake("The lag is counted one update too long. The newest weight is in the average already: compute the average of 0, 1, 2, .. by hand.")
def one_more(case):
    return by_lags(case, lag=lambda d: 1 / (1 - d))


@lag.mistake("The two coefficients stand in each other's place. The fast average, with the smaller decay, is nearer to the goal.")
def exchanged(case):
    return by_lags(case, pick=lambda lag1, lag2, ahead: (-(lag1 + ahead) / (lag2 - lag1), (lag2 + ahead) / (lag2 - lag1)))


@lag.mistake("Both averages lie behind, so no mean of them can be in time: the goal is not between them.")
def between_them(case):
    return by_lags(case, pick=lambda lag1, lag2, ahead: (lag2 / (lag1 + lag2), lag1 / (lag1 + lag2)))


@lag.mistake("The lags cancel, and the coefficients do not add up to 1: a weight at rest is missed.")
def not_one(case):
    return by_lags(case, pick=lambda lag1, lag2, ahead: (1.0, -(lag1 + ahead) / (lag2 + ahead)))


@lag.mistake("The coefficients are the same for all decays. They would be if one average were always twice as far behind as the other.")
def twice_minus_once(case):
    return by_lags(case, pick=lambda lag1, lag2, ahead: (2.0, -1.0))


@lag.mistake("You cancel the decays themselves. What has to cancel is how many updates each average is behind.")
def decays_for_lags(case):
    return by_lags(case, lag=lambda d: d)


@lag.mistake("The coefficients are right. The two averages see the same noise, so they are not independent: their covariance is missing.")
def no_covariance(case):
    return by_lags(case, cost=lambda c, d: sum(ci**2 * (1 - di) / (1 + di) for ci, di in zip(c, d, strict=True)))


@lag.mistake("The coefficients are right. A factor in front of a random number enters its variance squared.")
def not_squared(case):
    return by_lags(case, cost=lambda c, d: sum(ci * (1 - di) / (1 + di) for ci, di in zip(c, d, strict=True)))


QUESTION = """\
Two students train the same network on, from a checkpoint, at a constant learning rate. Each keeps an exponential moving average of the
weights, which starts as the checkpoint. After 3,000 updates both look at their held-out losses.

- *A*, who uses $d = 0.9999$: "The average is better than the raw weights. So averaging over the run works."
- *B*, who uses $d = 0.5$: "The average is no better than the raw weights. So averaging does not help for my network."

1. Which share of the weights at the start is left in A's average? What can and what can not be concluded from A's comparison? Name one
   measurement that would decide.
2. Explain B's result with the ratio of variances of a stationary weight. What does B need to know of the training to choose $d$?
3. A third student says: "Raw weights and average differ by less than a tenth in held-out loss, so samples will hardly differ either." Do you
   agree? Say what in section 5.1 speaks for or against, and why.
"""
RUBRIC = """\
1. (2 points) The share is 0.9999^3000 = e^(-0.3) = 0.74 (1 point; accept "about three quarters"). The average is mostly the checkpoint, which may
   have been better than the raw weights at a constant rate all along, so the comparison does not show that averaging *this run* works. A decisive
   measurement: the checkpoint's own loss beside the two; or a run long against the half-life (about 6,900 updates); or an average with a rising or
   shorter decay (1 point for the conclusion with any such measurement).
2. (2 points) The ratio (1 - d)(1 + a d) / ((1 + d)(1 - a d)) at d = 0.5 goes to 1 as a goes to 1: weights of neighbouring updates hardly differ, so
   there is nothing to average out (1 point). B must know the weight's own memory, 1 - a = rate x curvature, and take an average that is long against
   it, and short against the time over which the weights drift (1 point). 1/3, the ratio for independent weights, earns nothing: that is a = 0.
3. (2 points) No. In the section's run the loss of the average was lower by less than a tenth, the Fréchet distance by a factor of three (1 point).
   A reason: errors of all steps of sampling add up, the loss looks at single steps and has a floor that no network can go below (1 point for either).
Typical wrong answers: A's average "has forgotten" the start; B's decay is "too small to converge"; the loss is a measure of the quality of samples.
"""
SET = ProblemSet("ddpm_pytorch", "A network and its average", "05_practice/01_ddpm_pytorch", SETUP, [fold, ema, qkv, lag],
                 Essay(QUESTION, RUBRIC, 6, 25))
