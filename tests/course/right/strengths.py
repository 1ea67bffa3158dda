"""Right answers of section 1.2, written in other ways than the book's."""

import torch
import torch.nn.functional as F


def by_eigenvalues_of_the_product(case):
    def my_frechet(a, b):
        A, B = torch.cov(a.T), torch.cov(b.T)
        cross = torch.linalg.eigvals(A @ B).real.clamp(min=0).sqrt().sum()
        return case.share**2 * ((a.mean(0) - b.mean(0)).square().sum() + torch.trace(A + B) - 2 * cross)
    return my_frechet


def by_moving_the_points(case):
    """The best plan itself: the map of Gaussians moves the heap, and the way is measured."""
    def my_frechet(a, b):
        A, B = torch.cov(a.T), torch.cov(b.T)
        factor = torch.linalg.cholesky(A)
        values, vectors = torch.linalg.eigh(factor.T @ B @ factor)
        inverse = torch.linalg.inv(factor)
        move = inverse.T @ (vectors * values.clamp(min=0).sqrt()) @ vectors.T @ inverse
        way = case.share * ((a - a.mean(0)) @ (move - torch.eye(len(A), dtype=a.dtype)) + b.mean(0) - a.mean(0))
        return float(way.mean(0).square().sum() + way.var(0).sum())
    return my_frechet


def lengths(case, x, y, share):
    p = case.power or 1
    return ((1 - share) * x.norm(dim=1, keepdim=True) ** p + share * y.norm(dim=1, keepdim=True) ** p) ** (1 / p)


def by_rotation(case):
    """Turn x by a part of the angle, in the plane that x and the rest of y span."""
    def slerp(x, y, share):
        a, b = x.flatten(1), y.flatten(1)
        u = a / a.norm(dim=1, keepdim=True)
        along = (u * b).sum(1, keepdim=True)
        rest = b - along * u
        across = rest.norm(dim=1, keepdim=True)
        w = rest / across.clamp(min=1e-300)
        theta = share * torch.atan2(across, along)
        return (lengths(case, a, b, share) * (theta.cos() * u + theta.sin() * w)).view(x.shape)
    return slerp


def by_inner_products(case):
    """The weights whose point has the right inner products with both ends; the pseudoinverse takes care of parallel rows."""
    def slerp(x, y, share):
        a, b = x.flatten(1), y.flatten(1)
        ends = torch.stack([a / a.norm(dim=1, keepdim=True), b / b.norm(dim=1, keepdim=True)], 1)        # (N, 2, D)
        gram = ends @ ends.mT
        theta = gram[:, 0, 1].clamp(-1, 1).arccos()
        weights = torch.linalg.pinv(gram, rtol=1e-9) @ torch.stack([(share * theta).cos(), ((1 - share) * theta).cos()], 1)[..., None]
        return (lengths(case, a, b, share) * (weights * ends).sum(1)).view(x.shape)
    return slerp


FLIP = {"as it is": lambda x: x, "mirrored left to right": lambda x: x.flip(3), "upside down": lambda x: x.flip(2),
        "with its grey levels negated": lambda x: -x}


def by_removing_doubles(case):
    """Doubles are taken out of the collection first."""
    def detector(x, pictures):
        kept = [0]
        apart = torch.cdist(pictures.flatten(1), pictures.flatten(1)) / pictures[0].numel() ** 0.5
        for i in range(1, len(pictures)):
            if apart[i, kept].min() > 0.08:
                kept.append(i)
        found = torch.zeros(len(x), dtype=torch.bool)
        for version in (pictures[kept], FLIP[case.disguise](pictures[kept])):
            near = torch.cdist(x.flatten(1), version.flatten(1)).topk(2, largest=False).values
            found |= 3 * near[:, 0] < near[:, 1]
        return found
    return detector


def by_walking_outwards(case):
    """From the nearest picture outwards, until one is no double of it."""
    def detector(x, pictures):
        rms = lambda difference: float(difference.square().mean().sqrt())
        collection = torch.cat([pictures, FLIP[case.disguise](pictures)]) if case.disguise != "as it is" else pictures

        def copied(one):
            order = (collection - one).square().flatten(1).sum(1).argsort()
            other = next(i for i in order if rms(collection[i] - collection[order[0]]) > 0.12)
            return rms(collection[order[0]] - one) < 0.35 * rms(collection[other] - one)

        return torch.tensor([copied(one) for one in x])
    return detector


def offsets(window, k):
    r = k // 2
    square = [(i, j) for i in range(2 * r + 1) for j in range(2 * r + 1)]
    keep = {"square": lambda i, j: True, "row": lambda i, j: i == r, "column": lambda i, j: j == r, "cross": lambda i, j: r in (i, j)}[window]
    return [keep(i, j) for i, j in square]


def by_patches(case):
    """Windows as vectors: the squared distance of patches, with zeros in both outside of the picture."""
    def local_x0(x_t, alpha_bar, pictures, k):
        chosen = torch.tensor(offsets(case.window, k))
        ours, theirs = (F.unfold(p, k, padding=k // 2)[:, chosen] for p in (x_t, alpha_bar**0.5 * pictures))        # (M or N, window, H W)
        energy = (ours[:, None] - theirs).square().sum(2)
        weights = torch.exp(torch.log_softmax(-energy / (2 * (1 - alpha_bar)), 1))
        return torch.einsum("mnp,np->mp", weights, pictures.flatten(1)).view_as(x_t)
    return local_x0


def by_convolution(case):
    """The exponent without its |x|^2, which all pictures share: one convolution over the window."""
    def local_x0(x_t, alpha_bar, pictures, k):
        kernel = torch.tensor(offsets(case.window, k), dtype=x_t.dtype).view(1, 1, k, k)
        scaled = alpha_bar**0.5 * pictures
        found = []
        for x in x_t:
            energy = F.conv2d(scaled * (scaled - 2 * x), kernel, padding=k // 2)
            likely = torch.exp(-(energy - energy.min(0).values) / (2 * (1 - alpha_bar)))
            found.append((likely * pictures).sum(0) / likely.sum(0))
        return torch.stack(found)
    return local_x0


RIGHT = {
    "strengths-frechet": [by_eigenvalues_of_the_product, by_moving_the_points],
    "strengths-slerp": [by_rotation, by_inner_products],
    "strengths-detector": [by_removing_doubles, by_walking_outwards],
    "strengths-local": [by_patches, by_convolution],
}
