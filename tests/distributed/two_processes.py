"""What each of two processes does for test_two_processes.py: train, and write what it ended with to FOLDER/RANK.pt."""

import sys
from pathlib import Path

import torch
import toy
from accelerate import Accelerator

from diffusion_core.data import Stream
from diffusion_core.training import fit

folder = Path(sys.argv[1])
accelerator = Accelerator()
torch.set_num_threads(1)
rank = accelerator.process_index

run = toy.last(fit(toy.denoiser(), toy.batch, toy.settings(), every=1, accelerator=accelerator))
found = {"log": run.log, "net": run.net.state_dict(), "ema": run.ema.shadow.state_dict()}

# Left in the middle and taken up again by networks that knew nothing.
for run in fit(toy.denoiser(), toy.batch, toy.settings(), every=4, checkpoint=folder / "resumed.pt"):
    if run.step == 6:
        break
run = toy.last(fit(toy.denoiser(seed=3 + rank), toy.batch, toy.settings(), every=4, checkpoint=folder / "resumed.pt"))
found["resumed"] = {"net": run.net.state_dict(), "ema": run.ema.shadow.state_dict()}

# Networks that begin differently end alike, averages too: the first process's weights are everybody's.
run = toy.last(fit(toy.denoiser(seed=rank), toy.batch, toy.settings(steps=2)))
found["other start"] = {"net": run.net.state_dict(), "ema": run.ema.shadow.state_dict()}

seen = []
stream = Stream("parquet", str(folder / "data"), size=8, channels=1, label="y", buffer=4)


def watch(denoiser, x0, t, eps, cond):
    seen.append(x0[:, 0, 0, 0])
    return ((denoiser(x0, t, cond).v - eps) ** 2).mean()


run = toy.last(fit(toy.denoiser(), stream, toy.settings(steps=6), objective=watch, checkpoint=folder / "stream.pt", every=3))
found["seen"], found["stream net"] = torch.stack(seen), run.net.state_dict()

try:
    next(fit(toy.denoiser(), toy.batch, toy.settings(micro=8)))
except ValueError as error:
    found["refused"] = str(error)

# A checkpoint that only the first process sees.
where = folder / ("stream.pt" if rank == 0 else "elsewhere.pt")
try:
    next(fit(toy.denoiser(), stream, toy.settings(steps=6), objective=watch, checkpoint=where))
except ValueError as error:
    found["apart"] = str(error)
torch.save(found, folder / f"{rank}.pt")
accelerator.end_training()
