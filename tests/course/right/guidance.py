"""Right answers of section 3.3, written in other ways than the book's."""

import torch


def by_interpolation(case):
    return lambda cond, null, w: torch.lerp(null, cond, (w - case.unconditional) / (case.conditional - case.unconditional))


def by_lagrange(case):
    """The straight line in w through two points."""
    def combine(cond, null, w):
        u, c = case.unconditional, case.conditional
        return cond * (w - u) / (c - u) + null * (w - c) / (u - c)
    return combine


def by_properties(case):
    """The two ends, equal steps of w that add equal amounts, and, where there are more channels, conditional ones."""
    def accepts(combine):
        cond, null = torch.randn(2, 2, 4 + case.extra, 5, 5, dtype=torch.float64)
        w = torch.linspace(-1, 9.8, 19, dtype=torch.float64).tolist()
        found = torch.stack([combine(cond, null, value) for value in w])
        guided, rest = found[:, :, :4], found[:, :, 4:]
        return bool(torch.allclose(guided[0], null[:, :4]) and torch.allclose(combine(cond, null, 0.0), cond)
                    and (guided.diff(n=2, dim=0).abs() < 1e-9).all() and torch.allclose(rest, cond[:, 4:].expand_as(rest)))
    return accepts


def by_weights(case):
    """The weights of both predictions are read off from predictions of which one is 0, and are the same for every entry."""
    def accepts(combine):
        for scale in (0.1, 1.0, 30.0):
            x = scale * (1 + torch.rand(3, 4 + case.extra, 4, 4, dtype=torch.float64))
            x[:, 0] *= -1
            for w in (-1, -0.7, 0, 0.3, 1, 2.5, 6, 9.9):
                of_cond, of_null = combine(x, 0 * x, w) / x, combine(0 * x, x, w) / x
                wanted = torch.full_like(x, 1 + w), torch.full_like(x, -w)
                wanted[0][:, 4:], wanted[1][:, 4:] = 1, 0
                y = x.flip(0) + x.roll(1, 2)
                sums = combine(x, y, w) - combine(x, 0 * x, w) - combine(0 * x, y, w)
                if max((of_cond - wanted[0]).abs().max(), (of_null - wanted[1]).abs().max(), sums.abs().max()) > 1e-8 * max(scale, 1):
                    return False
        return True
    return accepts


def by_directions(case):
    """Add to the class w times what separates it from what is avoided."""
    def avoid(denoiser, w, x_t, t, cond, other):
        mine = denoiser(x_t, t, cond).x0
        return mine + w * (1 - case.share) * (mine - denoiser(x_t, t, other).x0) + w * case.share * (mine - denoiser(x_t, t, None).x0)

    return {"avoid": avoid, "first_step": lambda w, mean, other: mean + w * (mean - other) * (1 - case.share / 2)}


def by_scores(case):
    """Combine the scores, and take x0 from the result by Tweedie's formula."""
    def avoid(denoiser, w, x_t, t, cond, other):
        a = denoiser.schedule.at(t)
        weights = {cond: 1 + w, other: -w * (1 - case.share), None: -w * case.share}
        total = sum(weight * denoiser(x_t, t, label).score for label, weight in weights.items())
        return (x_t + (1 - a) * total) / a.sqrt()

    def first_step(w, mean, other):
        away = torch.stack([torch.as_tensor(m, dtype=torch.float64) for m in (other, other, mean)])
        weights = torch.tensor([1 - case.share, case.share / 2, case.share / 2], dtype=torch.float64)
        return (1 + w) * mean - w * torch.tensordot(weights, away, 1)

    return {"avoid": avoid, "first_step": first_step}


def by_loops(case):
    def precision_recall(real, fake, k):
        norm = lambda x: float(torch.linalg.vector_norm(x, case.p))

        def share(points, by):
            radius = [sorted(norm(y - other) for other in by)[k] for y in by]
            return sum(any(norm(x - y) <= r for y, r in zip(by, radius)) for x in points) / len(points)

        return share(fake, real), share(real, fake)
    return precision_recall


def by_topk(case):
    def precision_recall(real, fake, k):
        between = torch.linalg.vector_norm(real[:, None] - fake, case.p, dim=2)

        def radius(points):
            own = torch.linalg.vector_norm(points[:, None] - points, case.p, dim=2).fill_diagonal_(torch.inf)
            return own.topk(k, largest=False).values[:, -1]

        precision = ((between <= radius(real)[:, None]).sum(0) > 0).double().mean()
        recall = ((between <= radius(fake)).sum(1) > 0).double().mean()
        return precision, recall
    return precision_recall


RIGHT = {
    "cfg-rule": [by_interpolation, by_lagrange],
    "cfg-bugs": [by_properties, by_weights],
    "cfg-negative": [by_directions, by_scores],
    "cfg-recall": [by_loops, by_topk],
}
