"""Training: the loss, the moving average of the weights, and a loop that can be stopped at any step and resumed.

One random generator on the CPU drives everything (which pictures, which times, which noise, which labels are dropped) and is part of the
checkpoint, so a run that was interrupted ends with the same bits as one that was not, at an equal number of threads.
"""

import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from .denoisers import NULL, NetworkDenoiser
from .gaussian import KINDS, like, q_sample
from .schedules import Schedule


def loss_weight(schedule: Schedule, t: Tensor, predicts: str, gamma: float | None) -> Tensor:
    """What the squared error of `predicts` is multiplied by at t, float64 (N,), for the min-SNR weighting (Hang et al. 2023, section 3.4).

    In terms of the error of x0 the weight is min(SNR, gamma). An error of eps is SNR times that of x0, one of v is SNR + 1 times, so eps
    is weighted min(SNR, gamma) / SNR and v min(SNR, gamma) / (SNR + 1). gamma None: weight 1, which for eps is L_simple.
    """
    if predicts not in KINDS:
        raise ValueError(f"predicts must be one of {KINDS}, got {predicts!r}")
    snr = schedule.snr(t)
    if gamma is None:
        return torch.ones_like(snr)
    return snr.clamp(max=gamma) / {"x0": torch.ones_like(snr), "eps": snr, "v": snr + 1}[predicts]


def loss(denoiser: NetworkDenoiser, x0: Tensor, t: Tensor, eps: Tensor, cond: Tensor | None = None, gamma: float | None = None) -> Tensor:
    """Mean over batch and pixels of weight(t) (target - prediction)^2 at x_t = q_sample(x0, t, eps); a scalar.

    The target is what the denoiser's network predicts. With eps and gamma None this is L_simple (Ho et al. 2020, equation 14).
    """
    schedule, predicts = denoiser.schedule, denoiser.predicts
    alpha_bar = schedule.at(t)
    v = like(alpha_bar.sqrt(), x0) * eps - like((1 - alpha_bar).sqrt(), x0) * x0
    target = {"x0": x0, "eps": eps, "v": v}[predicts]
    error = (target - getattr(denoiser(q_sample(schedule, x0, t, eps), t, cond), predicts)) ** 2
    return (like(loss_weight(schedule, t, predicts, gamma), x0) * error).mean()


def drop_labels(cond: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """cond (N,) with each label replaced by NULL with probability p, independently (Ho & Salimans 2022, algorithm 1)."""
    drop = torch.rand(cond.shape, generator=generator).to(cond.device) < p
    return torch.where(drop, NULL, cond)


class EMA:
    """A moving average of a network's parameters: shadow <- d shadow + (1 - d) net, d = min(decay, (1 + k) / (10 + k)) at update k.

    The ramp lets the first averages forget the initial weights. Buffers are no average of anything: they are copied.
    """

    def __init__(self, net: nn.Module, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay!r}")
        self.shadow = copy.deepcopy(net).eval().requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, net: nn.Module) -> None:
        """Take the present weights of net into the average."""
        d = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        torch._foreach_lerp_(list(self.shadow.parameters()), list(net.parameters()), 1 - d)
        for ours, theirs in zip(self.shadow.buffers(), net.buffers(), strict=True):
            ours.copy_(theirs)


@dataclass(frozen=True)
class Settings:
    """How `fit` trains. lr rises for `warmup` steps and then falls in a straight line to `lr_end` times its value at the last step."""

    steps: int
    batch: int = 64
    lr: float = 1e-3
    lr_end: float = 0.1
    warmup: int = 100
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    clip_norm: float = 1.0
    gamma: float | None = 5.0
    drop: float = 0.1
    ema: float = 0.999
    seed: int = 0

    def rate(self, step: int) -> float:
        """The factor on lr at step 0, 1, .. (warm-up, then linear decay)."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 1 - (1 - self.lr_end) * done


class Run:
    """The state of a training: network, average, optimiser, generator and how far it is. `save` and `load` keep all of it."""

    def __init__(self, denoiser: NetworkDenoiser, settings: Settings) -> None:
        self.denoiser, self.net, self.settings = denoiser, denoiser.net, settings
        self.ema = EMA(self.net, settings.ema)
        self.generator = torch.Generator().manual_seed(settings.seed)
        # The fused kernel is 2.5 ms a step where the default is 9 on a CPU.
        self.optimiser = torch.optim.AdamW(self.net.parameters(), settings.lr, settings.betas, weight_decay=settings.weight_decay, fused=True)
        self.step, self.seconds, self.log = 0, 0.0, []

    def update(self, x0: Tensor, cond: Tensor | None) -> float:
        """One step of the optimiser on a batch; returns its loss."""
        s, device = self.settings, next(self.net.parameters()).device
        t = torch.randint(1, len(self.denoiser.schedule) + 1, (len(x0),), generator=self.generator)
        eps = torch.randn(x0.shape, generator=self.generator).to(device)
        if cond is not None:
            cond = drop_labels(cond, s.drop, self.generator).to(device)
        with torch.random.fork_rng():
            torch.manual_seed(s.seed + self.step)  # dropout takes no generator; a seed a step is what a resumed run can repeat
            value = loss(self.denoiser, x0.to(device), t, eps, cond, s.gamma)
        self.optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), s.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = s.lr * s.rate(self.step)
        self.optimiser.step()
        self.ema.update(self.net)
        self.step += 1
        return value.item()

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place and move it there, so that no reader ever sees half a file."""
        state = {"settings": asdict(self.settings), "net": self.net.state_dict(), "ema": self.ema.shadow.state_dict(),
                 "updates": self.ema.updates, "optimiser": self.optimiser.state_dict(), "generator": self.generator.get_state(),
                 "step": self.step, "seconds": self.seconds, "log": self.log}
        partial = path.with_name(path.name + ".partial")
        with open(partial, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)

    def load(self, path: Path) -> None:
        """Take up the checkpoint at path; raises ValueError if it belongs to other settings."""
        state = torch.load(path, weights_only=True, map_location="cpu")
        if Settings(**state["settings"]) != self.settings:
            raise ValueError(f"{path.name} was trained with {state['settings']}, not with {asdict(self.settings)}; remove it or restore these")
        self.net.load_state_dict(state["net"])
        self.ema.shadow.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.ema.updates, self.step, self.seconds, self.log = state["updates"], state["step"], state["seconds"], state["log"]


def fit(denoiser: NetworkDenoiser, batch: Callable[[torch.Generator, int], tuple[Tensor, Tensor | None]], settings: Settings, *,
        checkpoint: Path | None = None, every: int = 500) -> Iterator[Run]:
    """Train denoiser.net, yielding the `Run` after every step (once, if none is left to do); stop by leaving the loop, go on by calling again.

    batch(generator, n) returns n pictures (n, C, H, W) in [-1, 1] and their labels (n,) or None, choosing them with that generator. With a
    checkpoint path the state is written every `every` steps and at the end, and taken up from there if the file exists. run.log holds
    (step, mean loss since the last entry) for every `every` steps; run.ema.shadow is the network to sample from.
    """
    run = Run(denoiser, settings)
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
    if run.step >= settings.steps:
        yield run
    total, count = 0.0, 0
    while run.step < settings.steps:
        start = time.perf_counter()
        total, count = total + run.update(*batch(run.generator, settings.batch)), count + 1
        run.seconds += time.perf_counter() - start
        if run.step % every == 0 or run.step == settings.steps:
            run.log.append((run.step, total / count))
            total, count = 0.0, 0
            if checkpoint is not None:
                run.save(checkpoint)
        yield run
