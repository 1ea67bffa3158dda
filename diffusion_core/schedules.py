"""Noise schedules: how much of the picture is left at each time.

One path for every model, x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, so a schedule is one table: alpha_bar. Times are
the papers' t = 1 .. T; entry 0 of every table is clean data, so no look-up needs a special case for "the step before the first".
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

MAX_BETA = 0.999  # cap of the cosine schedule, whose last beta would otherwise be 1 (Nichol & Dhariwal 2021, section 3.2)
SPACINGS = ("trailing", "leading", "linspace")


def linear_betas(T: int, start: float | None = None, end: float | None = None) -> Tensor:
    """Betas (T,), float64, rising evenly from start to end (Ho et al. 2020, section 4).

    The paper's 1e-4 and 0.02 belong to T = 1000. Without explicit ends they are scaled by 1000 / T, so that the total noise stays
    what it was; a scaled beta is capped at 0.999. Raises ValueError for a T below 1.
    """
    _check_length(T)
    scale = 1000 / T
    start = min(1e-4 * scale, MAX_BETA) if start is None else start
    end = min(0.02 * scale, MAX_BETA) if end is None else end
    return torch.linspace(start, end, T, dtype=torch.float64)


def cosine_betas(T: int, offset: float = 0.008) -> Tensor:
    """Betas (T,), float64, for alpha_bar_t = f(t) / f(0), f(t) = cos^2((t/T + offset) / (1 + offset) pi/2), each at most 0.999.

    Source: Nichol & Dhariwal 2021, equation 17. Raises ValueError for a T below 1.
    """
    _check_length(T)
    u = torch.arange(T + 1, dtype=torch.float64) / T
    f = torch.cos((u + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=MAX_BETA)


@dataclass(frozen=True, eq=False)
class Schedule:
    """A table alpha_bar of shape (T + 1,), float64 on the CPU: alpha_bar[t] for the papers' t = 1 .. T, alpha_bar[0] for clean data.

    Raises ValueError unless 1 >= alpha_bar[0] >= alpha_bar[1] > .. > alpha_bar[T] >= 0.
    """

    alpha_bar: Tensor

    def __post_init__(self) -> None:
        a = self.alpha_bar
        if a.dim() != 1 or len(a) < 2 or a.dtype != torch.float64 or a.device.type != "cpu":
            raise ValueError(f"alpha_bar must be a float64 CPU table of shape (T + 1,), got {a.dtype} {tuple(a.shape)} on {a.device}")
        decreasing = bool((a[1:-1] > a[2:]).all()) and bool(1 >= a[0] >= a[1]) and bool(a[-1] >= 0)
        if not decreasing:
            raise ValueError("alpha_bar must fall strictly within [0, 1] from t = 1 on and start no lower at t = 0")

    @classmethod
    def from_betas(cls, betas: Tensor, final_alpha_bar: float = 1.0) -> "Schedule":
        """alpha_bar_t = (1 - beta_1) .. (1 - beta_t) from betas (T,) in (0, 1]; final_alpha_bar is the value at t = 0."""
        betas = torch.as_tensor(betas, dtype=torch.float64).cpu()
        if betas.dim() != 1 or len(betas) == 0 or not bool(((betas > 0) & (betas <= 1)).all()):
            raise ValueError(f"betas must have shape (T,) with 0 < beta <= 1, got shape {tuple(betas.shape)}")
        first = torch.tensor([final_alpha_bar], dtype=torch.float64)
        return cls(torch.cat([first, torch.cumprod(1 - betas, 0)]))

    @classmethod
    def linear(cls, T: int, start: float | None = None, end: float | None = None) -> "Schedule":
        """The schedule of `linear_betas`."""
        return cls.from_betas(linear_betas(T, start, end))

    @classmethod
    def cosine(cls, T: int) -> "Schedule":
        """The schedule of `cosine_betas`."""
        return cls.from_betas(cosine_betas(T))

    def __len__(self) -> int:
        return len(self.alpha_bar) - 1

    @property
    def betas(self) -> Tensor:
        """beta_t = 1 - alpha_bar_t / alpha_bar_{t-1} for *neighbouring* times, shape (T + 1,), with betas[0] = 0."""
        a = self.alpha_bar
        return torch.cat([a.new_zeros(1), 1 - a[1:] / a[:-1]])

    def check(self, t: int | Tensor, lowest: int = 1) -> Tensor:
        """t as a LongTensor on the CPU, shape () or (N,). Raises ValueError unless lowest <= t <= T."""
        index = torch.as_tensor(t).cpu()
        if index.is_floating_point() or index.dtype == torch.bool or index.dim() > 1:
            raise ValueError(f"t must be an int or a LongTensor (N,), got {index.dtype} of shape {tuple(index.shape)}")
        if index.numel() == 0 or int(index.min()) < lowest or int(index.max()) > len(self):
            raise ValueError(f"t must lie in {lowest} .. {len(self)}, got {t}")
        return index.long()

    def at(self, t: int | Tensor, lowest: int = 0) -> Tensor:
        """alpha_bar at t, float64 on the CPU, shape () or (N,); raises ValueError for a t outside lowest .. T."""
        return self.alpha_bar[self.check(t, lowest)]

    def snr(self, t: int | Tensor) -> Tensor:
        """Signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), float64, shape () or (N,); infinite for clean data."""
        a = self.at(t)
        return a / (1 - a)


def zero_terminal_snr(schedule: Schedule) -> Schedule:
    """The schedule with sqrt(alpha_bar) shifted and scaled so that alpha_bar_T = 0 while alpha_bar_1 stays.

    Source: Lin et al. 2024, algorithm 1. At t = T the input is then pure noise: eps says nothing of x0 there, so predict v or x0.
    """
    root = schedule.alpha_bar.sqrt()
    first, last = root[1], root[-1]
    scaled = (root - last) * first / (first - last)
    return Schedule(torch.cat([schedule.alpha_bar[:1], scaled[1:] ** 2]))


def timesteps(T: int, n: int, spacing: str = "trailing", offset: int = 0) -> list[tuple[int, int]]:
    """The n pairs (t, s) a sampler goes through: strictly decreasing, each s the next t, the last s = 0.

    spacing (Lin et al. 2024, table 2):
      "trailing"  t = round(T), round(T - T/n), ..: visits the noisiest time, the default;
      "leading"   t = 1 + offset + k floor(T/n): visits the cleanest time and never t = T unless n = T;
      "linspace"  n evenly spaced times that visit both t = T and t = 1 (for n = 1 only T).
    Raises ValueError unless 1 <= n <= T, spacing is one of these and every time lies in 1 .. T.
    """
    _check_length(T)
    if not isinstance(n, int) or not 1 <= n <= T:
        raise ValueError(f"steps must be an int in 1 .. {T}, got {n!r}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing must be one of {SPACINGS}, got {spacing!r}")
    if offset and spacing != "leading":
        raise ValueError("offset belongs to leading spacing only")
    times = list(_times(T, n, spacing, offset))
    if times[0] > T or times[-1] < 1:
        raise ValueError(f"{n} {spacing} steps with offset {offset} leave 1 .. {T}")
    return list(zip(times, [*times[1:], 0], strict=True))


def noise_steps(schedule: Schedule, n: int, rho: float = 7.0, first: int | None = None, last: int = 1) -> list[tuple[int, int]]:
    """n pairs (t, s) from first (default T) through last to 0, even in (sigma / alpha)^(1 / rho) (Karras et al. 2022, equation 5).

    rho = 1 spaces the noise level evenly, 7 is the paper's choice, and towards infinity the steps become even in log(sigma / alpha).
    Each level is moved to the nearest time. Raises ValueError unless 1 <= last < first <= T, n is at least 2, rho positive, alpha_bar
    positive at first, and the n times differ.
    """
    first = len(schedule) if first is None else first
    if not isinstance(n, int) or n < 2 or not rho > 0:
        raise ValueError(f"n must be an int of at least 2 and rho positive, got n = {n!r}, rho = {rho!r}")
    if not 1 <= last < first <= len(schedule) or schedule.alpha_bar[first] == 0:
        raise ValueError(f"times must be 1 <= last < first <= {len(schedule)} with alpha_bar > 0, got last = {last}, first = {first}")
    root = ((1 - schedule.alpha_bar) / schedule.alpha_bar)[1:] ** (0.5 / rho)
    levels = torch.linspace(float(root[first - 1]), float(root[last - 1]), n, dtype=torch.float64)
    times = (root[None, :] - levels[:, None]).abs().argmin(1) + 1
    times[0], times[-1] = first, last
    if len(set(times.tolist())) < n:
        raise ValueError(f"the schedule has too few times for {n} different ones with rho = {rho} between {first} and {last}")
    return list(zip(times.tolist(), [*times.tolist()[1:], 0], strict=True))


def _times(T: int, n: int, spacing: str, offset: int) -> Iterator[int]:
    # Fractions, because arange with a float step of T/n returns one time too many for some n (61 of 1000 is the first).
    for k in range(n, 0, -1):
        if spacing == "trailing":
            yield round(Fraction(k * T, n))
        elif spacing == "leading":
            yield 1 + offset + (k - 1) * (T // n)
        else:
            yield T if n == 1 else 1 + round(Fraction((k - 1) * (T - 1), n - 1))


def _check_length(T: int) -> None:
    if not isinstance(T, int) or T < 1:
        raise ValueError(f"T must be an int of at least 1, got {T!r}")
