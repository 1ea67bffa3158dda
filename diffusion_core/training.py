"""Training: the loss, the moving average of the weights, and a loop that can be stopped at any step and resumed, on any number of processes.

A step's batch consists of micro-batches. Each has a random generator of its own, seeded from the run's seed, the step and its number, that
decides its pictures, times, noise and dropped labels. So a run that was interrupted ends with the same bits as one that was not, at an equal
number of threads; and whether micro-batches come one after the other or on several processes changes the order of a sum, nothing else.
"""

import contextlib
import copy
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from .checkpoint import read_checkpoint, write_checkpoint
from .denoisers import NULL, NetworkDenoiser
from .gaussian import KINDS, Prediction, like, q_sample
from .schedules import Schedule

if TYPE_CHECKING:
    from accelerate import Accelerator

# (generator, n) -> n pictures (n, C, H, W) in [-1, 1] and their labels (n,) or None, chosen with that generator.
Batch = Callable[[torch.Generator, int], tuple[Tensor, Tensor | None]]
# (denoiser, x0, t, eps, cond) -> the scalar to minimise; what it draws, it draws from torch.default_generator, which is seeded before each call.
Objective = Callable[[NetworkDenoiser, Tensor, Tensor, Tensor, Tensor | None], Tensor]


class Lane(Protocol):
    """A `Batch` that reads on where it stopped: the source of one micro-batch of every step. Its state goes into the checkpoint."""

    def __call__(self, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor | None]: ...
    def state_dict(self) -> dict: ...
    def load_state_dict(self, state: dict) -> None: ...


class Lanes(Protocol):
    """Data in disjoint lanes, such as `data.Stream`: lane k of n gives micro-batch k of every step, whichever process asks for it."""

    def lane(self, k: int, n: int) -> Lane: ...


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
    prediction = denoiser(q_sample(denoiser.schedule, x0, t, eps), t, cond)
    return weighted_error(prediction, denoiser.schedule, denoiser.predicts, x0, t, eps, gamma)


def weighted_error(prediction: Prediction, schedule: Schedule, predicts: str, x0: Tensor, t: Tensor, eps: Tensor, gamma: float | None) -> Tensor:
    """`loss` of a prediction that was made already, so that other terms can be made of the same one."""
    alpha_bar = schedule.at(t)
    v = like(alpha_bar.sqrt(), x0) * eps - like((1 - alpha_bar).sqrt(), x0) * x0
    target = {"x0": x0, "eps": eps, "v": v}[predicts]
    error = (target - getattr(prediction, predicts)) ** 2
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
    """How `fit` trains. lr rises for `warmup` steps and then falls in a straight line to `lr_end` times its value at the last step.

    A step takes `batch` pictures in micro-batches of `micro` (None: in one); the processes share them, and what one process gets it takes one
    after the other. Raises ValueError for a batch that does not divide into its micro-batches.
    """

    steps: int
    batch: int = 64
    micro: int | None = None
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", tuple(self.betas))  # a list comes from TOML
        if self.batch < 1 or (self.micro is not None and (self.micro < 1 or self.batch % self.micro)):
            raise ValueError(f"batch must be at least 1 and divide into micro-batches, got batch = {self.batch} and micro = {self.micro}")

    def rate(self, step: int) -> float:
        """The factor on lr at step 0, 1, .. (warm-up, then linear decay)."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 1 - (1 - self.lr_end) * done

    def share(self, rank: int, world: int) -> range:
        """The numbers of the micro-batches that process `rank` of `world` takes; raises ValueError if they cannot be shared evenly."""
        count = self.batch // (self.micro or self.batch)
        if count % world:
            raise ValueError(f"a batch of {self.batch} in micro-batches of {self.micro or self.batch} gives {count}, which {world} processes "
                             f"cannot share evenly: choose `micro` so that {world} divides their number")
        return range(rank, count, world)


def seeded(*numbers: int) -> torch.Generator:
    """A generator on the CPU for this sequence of integers; another sequence gives an unrelated one."""
    digest = hashlib.blake2b(" ".join(map(str, numbers)).encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest))


class Run:
    """The state of a training: network, average, optimiser, data and how far it is. `save` and `load` keep all of it.

    net is the network itself; where several processes train, `denoiser` holds it in a wrapper that averages the gradients over them.
    """

    def __init__(self, denoiser: NetworkDenoiser, batch: Batch | Lanes, settings: Settings, objective: Objective | None,
                 accelerator: "Accelerator") -> None:
        self.net, self.settings, self.accelerator = denoiser.net, settings, accelerator
        self.objective = objective or partial(loss, gamma=settings.gamma)
        self.parameter = next(self.net.parameters())
        self.share = settings.share(accelerator.process_index, accelerator.num_processes)
        count = len(self.share) * accelerator.num_processes
        self.lanes = {k: batch.lane(k, count) if hasattr(batch, "lane") else batch for k in self.share}
        self.denoiser = copy.copy(denoiser)
        self.denoiser.net = accelerator.prepare_model(self.net, device_placement=False)  # all processes now hold the first one's weights
        self.ema = EMA(self.net, settings.ema)
        # The fused kernel is 2.5 ms a step where the default is 9 on a CPU.
        self.optimiser = torch.optim.AdamW(self.net.parameters(), settings.lr, settings.betas, weight_decay=settings.weight_decay, fused=True)
        self.step, self.seconds, self.log = 0, 0.0, []

    def update(self) -> Tensor:
        """One step of the optimiser; returns the mean loss of this process's share of the batch, a scalar."""
        s, total = self.settings, 0.0
        self.optimiser.zero_grad()
        for k in self.share:
            # Gradients travel between processes once a step, with the last micro-batch.
            alone = self.accelerator.no_sync(self.denoiser.net) if k != self.share[-1] else contextlib.nullcontext()
            with alone:
                value = self.micro_loss(k) / len(self.share)
                self.accelerator.backward(value)
            total = total + value.detach()
        self.accelerator.clip_grad_norm_(self.net.parameters(), s.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = s.lr * s.rate(self.step)
        self.optimiser.step()
        self.ema.update(self.net)
        self.step += 1
        return total

    def micro_loss(self, k: int) -> Tensor:
        """The objective on micro-batch k of the present step, a scalar."""
        s, device = self.settings, self.parameter.device
        generator = seeded(s.seed, self.step, k)
        x0, cond = self.lanes[k](generator, s.micro or s.batch)
        t = torch.randint(1, len(self.denoiser.schedule) + 1, (len(x0),), generator=generator)
        eps = torch.randn(x0.shape, generator=generator).to(device)
        if cond is not None:
            cond = drop_labels(cond, s.drop, generator).to(device)
        with torch.random.fork_rng([device] if self.parameter.is_cuda else []):
            # Dropout takes no generator, so the default one gets a seed that a resumed run repeats.
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
            return self.objective(self.denoiser, x0.to(device), t, eps, cond)

    def save(self, path: Path) -> None:
        """Write the checkpoint beside its place and move it there, so that no reader ever sees half a file. Every process must call it."""
        from accelerate.utils import gather_object

        data = gather_object([{k: lane.state_dict() for k, lane in self.lanes.items() if hasattr(lane, "state_dict")}])
        state = {"settings": asdict(self.settings), "net": self.net.state_dict(), "ema": self.ema.shadow.state_dict(),
                 "updates": self.ema.updates, "optimiser": self.optimiser.state_dict(), "data": {k: v for part in data for k, v in part.items()},
                 "step": self.step, "seconds": self.seconds, "log": self.log}
        if self.accelerator.is_main_process:
            write_checkpoint(state, path)
        self.accelerator.wait_for_everyone()

    def load(self, path: Path) -> None:
        """Take up the checkpoint at path; raises ValueError if it belongs to other settings or other data, or is damaged."""
        state = read_checkpoint(path)
        if Settings(**state["settings"]) != self.settings:
            raise ValueError(f"{path.name} was trained with {state['settings']}, not with {asdict(self.settings)}; remove it or restore these")
        stateful = {k: lane for k, lane in self.lanes.items() if hasattr(lane, "load_state_dict")}
        if not stateful.keys() <= state["data"].keys() or (state["data"] and not stateful):
            raise ValueError(f"{path.name} was trained on other data: it knows the position of lanes {list(state['data'])}, not {list(stateful)}")
        self.net.load_state_dict(state["net"])
        self.ema.shadow.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        for k, lane in stateful.items():
            lane.load_state_dict(state["data"][k])
        self.ema.updates, self.step, self.seconds, self.log = state["updates"], state["step"], state["seconds"], state["log"]


def fit(denoiser: NetworkDenoiser, batch: Batch | Lanes, settings: Settings, *, objective: Objective | None = None,
        checkpoint: Path | None = None, every: int = 500, accelerator: "Accelerator | None" = None) -> Iterator[Run]:
    """Train denoiser.net, yielding the `Run` after every step (once, if none is left to do); stop by leaving the loop, go on by calling again.

    batch(generator, n) returns n pictures (n, C, H, W) in [-1, 1] and their labels (n,) or None, choosing them with that generator; or batch
    is data in `Lanes`. objective is what is minimised, by default `loss` with the weighting of settings.gamma. With a checkpoint path the
    state is written every `every` steps and at the end, and taken up from there if the file exists. run.log holds (step, mean loss since the
    last entry) for every `every` steps; run.ema.shadow is the network to sample from.

    The network stays on its device. Under `accelerate launch` every process calls `fit` alike, and the checkpoint is in a folder that all of
    them see. accelerator: the caller's, where there is one. Raises ValueError for a batch that the processes cannot share, for a
    checkpoint that is damaged or belongs to something else, and for an engine that is not plain data parallelism in float32 or bfloat16.
    """
    run = Run(denoiser, batch, settings, objective, _checked(accelerator))
    if checkpoint is not None and checkpoint.exists():
        run.load(checkpoint)
    _same_step(run, checkpoint)
    if run.step >= settings.steps:
        yield run
    losses = []
    while run.step < settings.steps:
        start = time.perf_counter()
        losses.append(run.update())
        if run.step % every == 0 or run.step == settings.steps:
            run.log.append((run.step, run.accelerator.reduce(torch.stack(losses).mean(), "mean").item()))
            losses = []
        run.seconds += time.perf_counter() - start
        if not losses and checkpoint is not None:
            run.save(checkpoint)
        yield run


def _checked(accelerator: "Accelerator | None") -> "Accelerator":
    from accelerate import Accelerator  # takes a second, which only training should pay

    accelerator = accelerator or Accelerator(device_placement=False)
    kind = accelerator.distributed_type.value
    if not (kind == "NO" or kind.startswith("MULTI_")) or accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(f"training runs on processes that each hold the network, in precision 'no' or 'bf16', "
                         f"got {kind} in {accelerator.mixed_precision!r}")
    if accelerator.gradient_accumulation_steps != 1:
        raise ValueError(f"gradients accumulate over the micro-batches of Settings.micro: leave accelerate's own accumulation at 1, "
                         f"got {accelerator.gradient_accumulation_steps}")
    return accelerator


def _same_step(run: Run, checkpoint: Path | None) -> None:
    from accelerate.utils import gather_object

    steps = gather_object([run.step])
    if len(set(steps)) > 1:
        raise ValueError(f"the processes stand at steps {steps}: is {checkpoint} in a folder that all of them see?")
