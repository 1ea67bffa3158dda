"""Editing: a picture's own noise by inversion, paths between noises, and sampling that starts from or holds on to a given picture."""

from collections.abc import Iterator

import torch
from torch import Tensor

from .denoisers import Denoiser, FunctionDenoiser
from .gaussian import Prediction, like, q_sample
from .samplers import Pairs, Step, ddim, noise_like, pairs
from .schedules import Schedule


@torch.no_grad()
def invert(denoiser: Denoiser, x0: Tensor, schedule: Schedule, *, steps: int | Pairs, spacing: str = "trailing",
           cond: Tensor | None = None) -> Iterator[Step]:
    """Deterministic DDIM run upwards: clean x0 (N, ..) to the x_t that `ddim` at eta = 0 leads back to it (Song et al. 2021, section 5.4).

    x_t = sqrt(alpha_bar_t) x0-hat + sqrt(1 - alpha_bar_t) eps-hat, both taken at the start s of the step (clean pictures count as x_1):
    the way back takes them at t, so the round trip has an error of first order in the steps. steps is a number (with spacing) or
    explicit pairs (t, s) as for `ddim`, gone through in reverse; the last must end at s = 0. Each Step(s, t, x_t, x0-hat) is from an
    earlier to a later time. Raises ValueError for other arguments.
    """
    grid = pairs(schedule, steps, spacing)
    if grid[-1][1] != 0:
        raise ValueError(f"inversion starts from clean data: the last pair must end at s = 0, got {grid[-1]}")
    x = x0
    for t, s in reversed(grid):
        prediction = denoiser(x, max(s, 1), cond)
        x = q_sample(schedule, prediction.x0, t, prediction.eps)
        yield Step(s, t, x, prediction.x0)


def slerp(a: Tensor, b: Tensor, u: float | Tensor) -> Tensor:
    """From a (u = 0) to b (u = 1) on the great circle: sin((1 - u) phi) / sin(phi) a + sin(u phi) / sin(phi) b (Shoemake 1985).

    a and b have one shape (N, ..), phi (N,) is the angle of their rows, each taken as one vector; u is a number or a Tensor (N,). Noises
    stay as long as noise is, where a straight line would shorten them. Rows of equal direction are joined by the straight line. Raises
    ValueError for other shapes, rows of length 0 and rows of opposite direction, between which there is no shortest way.
    """
    if a.shape != b.shape or a.dim() < 2:
        raise ValueError(f"a and b must have one shape (N, ..), got {tuple(a.shape)} and {tuple(b.shape)}")
    u = torch.as_tensor(u, dtype=torch.float64, device="cpu")
    if u.shape not in ((), (len(a),)):
        raise ValueError(f"u must be a number or have shape ({len(a)},), got {tuple(u.shape)}")
    rows_a, rows_b = (x.detach().cpu().double().flatten(1) for x in (a, b))
    lengths = rows_a.norm(dim=1), rows_b.norm(dim=1)
    if not bool((torch.minimum(*lengths) > 0).all()):
        raise ValueError("a row of length 0 has no direction")
    one, other = rows_a / lengths[0][:, None], rows_b / lengths[1][:, None]
    phi = 2 * torch.atan2((one - other).norm(dim=1), (one + other).norm(dim=1))  # exact for small angles too, unlike acos
    if not bool((torch.pi - phi > 1e-6).all()):
        raise ValueError("rows of opposite direction have no shortest way between them")
    straight = phi < 1e-6
    sine = torch.where(straight, 1.0, phi.sin())
    weight_a, weight_b = (torch.where(straight, w, (w * phi).sin() / sine) for w in (1 - u, u))
    return like(weight_a, a) * a + like(weight_b, a) * b


def sdedit(denoiser: Denoiser, guide: Tensor, schedule: Schedule, *, steps: Pairs, eta: float = 1.0, cond: Tensor | None = None,
           generator: torch.Generator | None = None) -> Iterator[Step]:
    """Noise a guide, a picture or a drawing (N, ..), to the first time of steps, and sample from there (Meng et al. 2022, algorithm 1).

    steps are explicit pairs: `timesteps(t0, n)` are n of them from t0 down. The higher t0, the more realistic and the less faithful.
    eta = 1 is the paper's stochastic sampler, eta = 0 leaves one draw of noise. Raises ValueError for other arguments, as `ddim` does.
    """
    if isinstance(steps, int):
        raise ValueError(f"steps must be pairs (t, s), such as timesteps(t0, {steps}), since the first one is the edit's strength")
    grid = pairs(schedule, steps)
    x = q_sample(schedule, guide, grid[0][0], noise_like(guide, generator))
    return ddim(denoiser, x, schedule, steps=grid, eta=eta, cond=cond, generator=generator)


def inpainted(denoiser: Denoiser, picture: Tensor, mask: Tensor) -> Denoiser:
    """The denoiser that knows x0 where mask is 0 and fills in where it is 1: x0 = mask x0-hat + (1 - mask) picture.

    eps follows, so with `ddim` of any eta the known part goes through q(x_s | x_0 = picture) and ends as the picture: inpainting by
    replacing (Song et al. 2021, "Score-based generative modeling", appendix I.2), which is no exact conditioning. picture has the shape
    of x_t or one that broadcasts to it, mask values in 0 .. 1 and such a shape. Raises ValueError for other values, and, when called, for
    other shapes.
    """
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError("mask must lie in 0 .. 1: 1 where the picture is to be made, 0 where it is kept")

    def predict(x_t: Tensor, t: int | Tensor, cond: Tensor | None) -> Prediction:
        prediction = denoiser(x_t, t, cond)
        x0, free = prediction.x0, mask.to(x_t)
        if torch.broadcast_shapes(x0.shape, picture.shape, mask.shape) != x0.shape:
            raise ValueError(f"picture {tuple(picture.shape)} and mask {tuple(mask.shape)} must broadcast to {tuple(x0.shape)}")
        return prediction.with_x0(free * x0 + (1 - free) * picture.to(x_t))

    return FunctionDenoiser(denoiser.schedule, predict)
