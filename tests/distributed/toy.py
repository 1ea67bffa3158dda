"""A training that takes milliseconds, run by the tests and by the processes they start."""

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from diffusion_core import NetworkDenoiser, Schedule, UNet, UNetConfig, checkpoint
from diffusion_core.training import Run, Settings, fit

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {"channels": 8, "groups": 4, "head_channels": 8, "classes": 3, "dropout": 0.2}


def denoiser(seed: int = 0) -> NetworkDenoiser:
    torch.manual_seed(seed)
    return NetworkDenoiser(UNet(UNetConfig(**CONFIG)), Schedule.cosine(100), "v")


def batch(generator: torch.Generator, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(3, (n,), generator=generator)
    return (labels.float() / 2 - 0.5).reshape(n, 1, 1, 1) + 0.1 * torch.randn(n, 1, 8, 8, generator=generator), labels


def settings(**options: object) -> Settings:
    return Settings(**{"steps": 12, "batch": 8, "micro": 2, "warmup": 3, "ema": 0.9} | options)


def last(runs: Iterator[Run]) -> Run:
    for run in runs:
        pass
    return run


def environment() -> dict[str, str]:
    """One thread a process, on the CPU, and this tree's package."""
    return os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT), "BOOK_BUILD": "1"}


def launch(*command: str, processes: int = 2, precision: str = "no") -> subprocess.Popen:
    """`accelerate launch` of that many processes, which talk through gloo."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    several = ["--multi_gpu", "--main_process_port", str(port)] if processes > 1 else ["--cpu"]
    accelerate = [sys.executable, "-m", "accelerate.commands.launch", *several, "--num_processes", str(processes), "--num_machines", "1",
                  "--mixed_precision", precision, "--dynamo_backend", "no"]
    return subprocess.Popen([*accelerate, *command], cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def victim(path: Path, journal: Path) -> None:
    """Train with a disk that takes a fifth of a second for the 3,000 pieces of a checkpoint, noting in the journal what is done; to be killed."""
    write, pieces = checkpoint.Hashing.write, itertools.count()

    def slowly(self: checkpoint.Hashing, piece: bytes) -> int:
        if next(pieces) % 16 == 0:
            time.sleep(1e-3)
        return write(self, piece)

    checkpoint.Hashing.write = slowly
    torch.set_num_threads(1)
    with open(journal, "a") as notes:
        for run in fit(denoiser(), batch, settings(steps=60), checkpoint=path, every=3):
            notes.write(json.dumps({"step": run.step, "saved": run.step % 3 == 0}) + "\n")
            notes.flush()
