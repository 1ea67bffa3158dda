"""Train the book's network in six widths and record its held-out loss on the way: diffusion_core/weights/scaling_tables.json (section 1.2).

Every width sees the same pictures, times and noise in the same order. The rate does not fall, so that the averaged weights at every recorded
step are those of a training that ended there. Each width is kept in runs/scaling/ as soon as it is done and goes on from its checkpoint
when interrupted; delete that folder to train anew. `--only 48` trains one width and writes no table. About 25 minutes on one core.
"""

import argparse
import json
from pathlib import Path

import torch
from measuring import kept
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from diffusion_core import NetworkDenoiser, Schedule, UNet, UNetConfig, q_sample, zoo
from diffusion_core.data import batches, fashion_mnist, to_pictures
from diffusion_core.plots import progress
from diffusion_core.training import Settings, fit, weighted_error

STEPS = {4: 3200, 8: 3200, 16: 1600, 24: 1600, 32: 800, 48: 800}  # about equal compute for all but the smallest
RECORDED = (50, 100, 200, 400, 800, 1600, 3200)
HELD_OUT = 1000  # test pictures, each with a time and a noise of its own, the same for every network


def network(channels: int) -> UNet:
    """The layout of "fashion", one attention head of any width; in groups of 4, so that the narrowest divides."""
    torch.manual_seed(0)  # layer initialisation takes no generator
    config = UNetConfig(patch=2, channels=channels, groups=4, head_channels=None, heads=1, classes=10)
    return UNet(config).to(memory_format=torch.channels_last)


def settings(channels: int) -> Settings:
    """A narrower network takes a larger rate: 1e-3 at 32 channels, falling with the root of the width."""
    return Settings(steps=STEPS[channels], batch=64, lr=1e-3 * (32 / channels) ** 0.5, lr_end=1.0, warmup=50, gamma=5.0, drop=0.1, ema=0.99)


def forward_flops(net: UNet) -> int:
    """Floating-point operations of one evaluation for one picture (a multiplication and an addition are two)."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():  # the counter sees no fused attention
        net(torch.zeros(1, 1, 28, 28), torch.tensor([0]), torch.tensor([0]))
    return counter.get_total_flops()


@torch.no_grad()
def held_out(denoiser: NetworkDenoiser, net: UNet) -> dict:
    """The trained objective and L_simple of `net` on the held-out pictures."""
    images, labels = fashion_mnist("test")
    generator = torch.Generator().manual_seed(0)
    x0, cond = to_pictures(images[:HELD_OUT]), torch.from_numpy(labels[:HELD_OUT]).long()
    t = torch.randint(1, len(denoiser.schedule) + 1, (HELD_OUT,), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    measured = NetworkDenoiser(net, denoiser.schedule, denoiser.predicts)
    sums = {"loss": 0.0, "simple": 0.0}
    for k in range(0, HELD_OUT, 100):
        part = slice(k, k + 100)
        prediction = measured(q_sample(measured.schedule, x0[part], t[part], eps[part]), t[part], cond[part])
        sums["loss"] += weighted_error(prediction, measured.schedule, "v", x0[part], t[part], eps[part], 5.0).item()
        sums["simple"] += ((prediction.eps - eps[part]) ** 2).mean().item()
    return {key: round(value * 100 / HELD_OUT, 6) for key, value in sums.items()}


def train(channels: int, checkpoints: Path) -> dict:
    """Parameters, operations and the log of one width: (step, training loss, held-out losses)."""
    denoiser = NetworkDenoiser(network(channels), Schedule.cosine(1000), "v")
    images, labels = fashion_mnist("train", source="full")
    rows = checkpoints / f"{channels}.rows.json"
    log = json.loads(rows.read_text()) if rows.exists() else []
    training = fit(denoiser, batches(images, labels), settings(channels), checkpoint=checkpoints / f"{channels}.pt", every=50)
    for run in progress(training, total=STEPS[channels]):
        if run.step in RECORDED and run.step not in [row["step"] for row in log]:
            log.append({"step": run.step, "train": round(run.log[-1][1], 6), **held_out(denoiser, run.ema.shadow)})
            rows.write_text(json.dumps(log))
            print(channels, log[-1], f"{run.seconds:.0f} s", flush=True)
    return {"channels": channels, "parameters": sum(p.numel() for p in denoiser.net.parameters()), "forward_flops": forward_flops(denoiser.net),
            "minutes": round(run.seconds / 60, 1), "log": log}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", type=int, choices=STEPS, default=None, help="train this width and write no table")
    parser.add_argument("--folder", type=Path, default=Path("runs/scaling"))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    results = [kept(options.folder, ["scaling", channels, STEPS[channels], HELD_OUT], lambda c=channels: train(c, options.folder))
               for channels in ([options.only] if options.only else STEPS)]
    if options.only is None:
        table = {"batch": settings(32).batch, "held_out": HELD_OUT, "widths": results}
        (zoo.FOLDER / "scaling_tables.json").write_text(json.dumps(table, indent=1) + "\n", "utf8")
