"""Right answers of section 5.1, written in other ways than the book's."""

import copy

import torch
import torch.nn.functional as F


def by_columns(case):
    """PyTorch's own unfolding into columns, whose order is (c, i, j), and a sorting of the channels."""
    letters = case.order.split(", ")

    def sorting(C, p):                                               # place in (c, i, j) of each channel of the order asked for
        return torch.arange(C * p * p).reshape(C, p, p).permute(*("cij".index(letter) for letter in letters)).flatten()

    def fold(x, p):
        N, C, H, W = x.shape
        return F.unfold(x, p, stride=p)[:, sorting(C, p)].unflatten(2, (H // p, W // p))

    def unfold(y, p):
        N, K, H, W = y.shape
        return F.fold(y[:, sorting(K // p**2, p).argsort()].flatten(2), (H * p, W * p), p, stride=p)

    return {"fold": fold, "unfold": unfold}


def by_filters(case):
    """A convolution with one filter of a single 1 for each channel, and its transpose."""
    def filters(C, p, like):
        each = torch.eye(C * p * p, dtype=like.dtype).reshape(C, p, p, C, p, p)
        return each.permute(*("cij".index(letter) for letter in case.order.split(", ")), 3, 4, 5).reshape(C * p * p, C, p, p)

    return {"fold": lambda x, p: F.conv2d(x, filters(x.shape[1], p, x), stride=p),
            "unfold": lambda y, p: F.conv_transpose2d(y, filters(y.shape[1] // p**2, p, y), stride=p)}


def decay_at(case, d, k):
    return min(d, (1 + k) / (case.rise + k))


def by_names(case):
    class MyEMA:
        def __init__(self, net, decay):
            self.shadow, self.decay, self.calls = copy.deepcopy(net), decay, 0
            for p in self.shadow.parameters():
                p.requires_grad = False

        def update(self, net):
            self.calls += 1
            d, trained = decay_at(case, self.decay, self.calls), dict(net.named_parameters())
            ours, theirs = self.shadow.state_dict(), net.state_dict()
            self.shadow.load_state_dict({name: d * ours[name] + (1 - d) * value if name in trained else value for name, value in theirs.items()})

    return MyEMA


def by_history(case):
    """All weights are kept, and the unrolled sum is evaluated afresh at every update."""
    class MyEMA:
        def __init__(self, net, decay):
            self.decay, self.shadow, self.past = decay, copy.deepcopy(net).requires_grad_(False), [[p.detach().clone() for p in net.parameters()]]

        def update(self, net):
            self.past.append([p.detach().clone() for p in net.parameters()])
            share = [1.0]
            for k in range(1, len(self.past)):
                d = decay_at(case, self.decay, k)
                share = [d * old for old in share] + [1 - d]
            for p, *values in zip(self.shadow.parameters(), *self.past, strict=True):
                p.data = sum(c * value for c, value in zip(share, values, strict=True))
            for name, value in net.named_buffers():
                self.shadow.get_buffer(name).data = value.clone()

    return MyEMA


def by_axes(case):
    """Three axes of named lengths, moved into place."""
    words = case.order.split(", ")

    def to_new_order(rows, heads):
        length = {"part": 3, "head": heads, "channel": rows.shape[0] // (3 * heads)}
        cube = rows.reshape(*(length[word] for word in words), *rows.shape[1:])
        return cube.permute(*(words.index(word) for word in ("part", "head", "channel")), *range(3, cube.dim())).reshape(rows.shape)

    return to_new_order


def by_arithmetic(case):
    """The place of row (part, head, channel) in the old order, from strides."""
    words = case.order.split(", ")

    def to_new_order(rows, heads):
        size = len(rows) // (3 * heads)
        length, stride, step = {"part": 3, "head": heads, "channel": size}, {}, 1
        for word in reversed(words):
            stride[word], step = step, step * length[word]
        return torch.stack([rows[part * stride["part"] + head * stride["head"] + i * stride["channel"]]
                            for part in range(3) for head in range(heads) for i in range(size)])

    return to_new_order


def by_solving(case):
    """Two equations for two coefficients; the variance from how each past weight enters."""
    def coefficients(d1, d2):
        equations = torch.tensor([[1.0, 1.0], [d1 / (1 - d1), d2 / (1 - d2)]], dtype=torch.float64)
        return torch.linalg.solve(equations, torch.tensor([1.0, -float(case.ahead)], dtype=torch.float64))[:].tolist()

    def variance_left(d1, d2):
        c1, c2 = coefficients(d1, d2)
        age = torch.arange(6000, dtype=torch.float64)
        return (c1 * (1 - d1) * d1**age + c2 * (1 - d2) * d2**age).square().sum()

    return {"coefficients": coefficients, "variance_left": variance_left}


def by_extrapolation(case):
    """From the slow average through the fast one, as far again as is left to go; the variance from a stationary recursion."""
    def coefficients(d1, d2):
        behind1, behind2 = d1 / (1 - d1), d2 / (1 - d2)
        further = (behind1 + case.ahead) / (behind2 - behind1)      # in units of the distance of the two averages
        return 1 + further, -further

    def variance_left(d1, d2):
        c, decay = torch.tensor(coefficients(d1, d2), dtype=torch.float64), torch.tensor([d1, d2], dtype=torch.float64)
        new = 1 - decay                                              # S = D S D + new new^T, entry by entry
        return float(c @ (torch.outer(new, new) / (1 - torch.outer(decay, decay))) @ c)

    return {"coefficients": coefficients, "variance_left": variance_left}


RIGHT = {
    "practice-fold": [by_columns, by_filters],
    "practice-ema": [by_names, by_history],
    "practice-qkv": [by_axes, by_arithmetic],
    "practice-lag": [by_solving, by_extrapolation],
}
