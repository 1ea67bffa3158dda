"""Measure inversion and edits with the shipped Fashion-MNIST network: diffusion_core/weights/fashion_editing_tables.json, for section 5.2.

Reconstruction of 50 test pictures, five of each class: up by `invert`, back by `ddim`, mean squared error a pixel on the scale [0, 1] (as
Table 2 of DDIM), without guidance by the number of steps, and at 50 steps by the guidance weight. Strength: 100 pictures, each edited towards
another class from t0 down, from its own noise by inversion or from fresh noise (SDEdit): how many are taken for that class by the
classifier, and how far the pictures move. Every row is kept in runs/editing/ as soon as it is measured, so the recipe can be stopped and
resumed; delete that folder to measure anew. About 12 minutes on one core.
"""

import argparse
import json
from pathlib import Path

import measuring
import torch
from torch import Tensor

from diffusion_core import ddim, final, guided, timesteps, zoo
from diffusion_core.data import fashion_mnist, to_pictures
from diffusion_core.editing import invert, sdedit
from diffusion_core.evaluation import classifier
from diffusion_core.plots import progress

NAME, EACH, EACH_EDITED, EDIT_W, EDIT_STEPS = "fashion", 5, 10, 1.0, 20
STEPS = [{"steps": n} for n in (10, 20, 50, 100, 200, 500, 1000)]
GUIDED = [{"steps": 50, "up": up, "down": w} for w in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0) for up in sorted({0.0, w})]
STRENGTH = [{"t0": t0, "method": method} for t0 in range(100, 1001, 100) for method in ("inversion", "sdedit 0", "sdedit 1")]


def pictures(each: int) -> tuple[Tensor, Tensor, Tensor]:
    """Test pictures (10 each, 1, 28, 28), their labels and the labels they are edited towards, each of the nine others about equally often."""
    x, y = fashion_mnist("test")
    y = torch.as_tensor(y).long()
    first = torch.stack([(y == k).nonzero()[:each, 0] for k in range(10)], 1).flatten()  # classes 0 .. 9 in turns
    shift = 1 + torch.arange(len(first)) // 10 % 9
    return to_pictures(x)[first], y[first], (y[first] + shift) % 10


def reconstruction(setting: dict) -> dict:
    """Mean squared error a pixel on [0, 1] of every picture, and the standard deviation of all pixels of x_T."""
    _, denoiser, _ = zoo.load(NAME)
    x, y, _ = pictures(EACH)
    up, down = (guided(denoiser, setting.get(key, 0.0)) for key in ("up", "down"))
    noise = final(invert(up, x, denoiser.schedule, steps=setting["steps"], cond=y))
    back = final(ddim(down, noise, denoiser.schedule, steps=setting["steps"], cond=y))
    return {"error": ((back - x) / 2).square().flatten(1).mean(1).tolist(), "sd": float(noise.std())}


def strength(setting: dict) -> dict:
    """Share of the edited pictures taken for the wanted class and for the old one, and the root mean square change on [0, 1]."""
    _, denoiser, _ = zoo.load(NAME)
    x, y, wanted = pictures(EACH_EDITED)
    grid, leaning = timesteps(setting["t0"], EDIT_STEPS), guided(denoiser, EDIT_W)
    if setting["method"] == "inversion":
        noise = final(invert(denoiser, x, denoiser.schedule, steps=grid, cond=y))
        edited = final(ddim(leaning, noise, denoiser.schedule, steps=grid, cond=wanted))
    else:
        edited = final(sdedit(leaning, x, denoiser.schedule, steps=grid, eta=float(setting["method"][-1]), cond=wanted,
                              generator=torch.Generator().manual_seed(0)))
    taken = classifier().predict(edited)
    return {"wanted": float((taken == wanted).double().mean()), "old": float((taken == y).double().mean()),
            "change": float(((edited - x) / 2).square().flatten(1).mean(1).sqrt().mean())}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("runs/editing"), help="where finished rows are kept")
    options = options.parse_args()
    weights = measuring.weights_key(NAME)
    tables = {"pictures": 10 * EACH, "edited": 10 * EACH_EDITED, "edit_w": EDIT_W, "edit_steps": EDIT_STEPS}
    for table, settings, make in (("guided", GUIDED, reconstruction), ("strength", STRENGTH, strength), ("steps", STEPS, reconstruction)):
        tables[table] = []
        for setting in progress(settings, table):
            row = measuring.kept(options.folder, [weights, table, setting, EACH, EACH_EDITED], lambda s=setting, m=make: torch.no_grad()(m)(s))
            tables[table].append(setting | row)
    for row in tables["guided"] + tables["steps"]:
        errors = torch.tensor(row["error"]).double()
        row["error"], row["spread"] = float(f"{errors.mean():.4g}"), float(f"{errors.std():.4g}")
    (zoo.FOLDER / "fashion_editing_tables.json").write_text(json.dumps(tables, indent=1) + "\n", "utf8")


if __name__ == "__main__":
    main()
