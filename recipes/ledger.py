"""Write the rows of the book's ledger of published numbers, book/measured/ledger.md, from what the recipes measured and from exact runs.

Each row holds what a paper states, what this book has, and a verdict that is computed, not chosen. A test compares the committed rows with these.
"""

from pathlib import Path

import torch

from diffusion_core import GaussianMixture, Schedule, ddim, final, guided, zoo
from diffusion_core.gaussian import Prediction
from diffusion_core.likelihood import vlb_prior, vlb_term

FILE = Path(__file__).resolve().parents[1] / "book" / "measured" / "ledger.md"
SAME, DIFFERENT = "same shape, small scale", "another shape here"


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def falling(values: list[float]) -> bool:
    return all(b < a for a, b in zip(values, values[1:], strict=False))


def listed(values: list[float], form: str = ".2f") -> str:
    return ", ".join(f"{value:{form}}" for value in values)


def shape(holds: bool) -> str:
    return SAME if holds else DIFFERENT


def ddim_table() -> list[list[str]]:
    """DDIM's Table 1: distance against steps for eta and for the larger variance."""
    rows = zoo.tables("fashion")["ddim"]
    by = {key: {row["steps"]: mean(row["frechet"]) for row in rows if row["eta"] == key} for key in {row["eta"] for row in rows}}
    hat = next(key for key in by if isinstance(key, str))
    steps = sorted(set(by[0]) & set(by[1]))
    few = [by[key][10] for key in (0, 1, hat)]
    return [["DDIM {cite}`song2021ddim`, Table 1", "FID at 10, 20, 50, 100 steps: 13.4, 6.8, 4.7, 4.2 (eta 0); 41, 18, 8.0, 5.8 (eta 1)",
             f"at {listed(steps, 'd')} steps: {listed([by[0][n] for n in steps])} (eta 0); {listed([by[1][n] for n in steps])} (eta 1)",
             shape(all(by[0][n] < by[1][n] for n in steps) and falling([by[0][n] for n in steps]) and falling([by[1][n] for n in steps]))],
            ["the same, sigma-hat", "at 10 steps far the worst: 367 against 13.4 and 41.1", f"at 10 steps {few[2]:.2f} against {few[0]:.2f} and {few[1]:.2f}",
             shape(few[2] > few[1] > few[0])]]


def reconstruction() -> list[list[str]]:
    """DDIM's Table 2: error of inverting a picture and coming back."""
    errors = {row["steps"]: row["error"] for row in zoo.tables("fashion_editing")["steps"]}
    return [["DDIM, Table 2", "error at 10, 20, 50, 100, 200, 500 steps: .014, .0065, .0023, .0009, .0004, .0001",
             f"at {listed(list(errors), 'd')} steps: {listed(list(errors.values()), '.2g')}", shape(falling(list(errors.values())))]]


def guidance_table() -> list[list[str]]:
    """The U of the classifier-free guidance paper's Table 1."""
    rows = zoo.tables("fashion")["guidance"]
    distance = {row["w"]: mean(row["frechet"]) for row in rows}
    accuracy = [mean(row["accuracy"]) for row in sorted(rows, key=lambda row: row["w"])]
    best = min(distance, key=distance.get)
    return [["CFG {cite}`ho2022cfg`, Table 1", "FID at w = 0, 0.1, 0.3, 1, 4: 1.8, 1.55, 3.03, 12.6, 26.2; IS rises throughout",
             f"at w = {listed(list(distance), 'g')}: {listed(list(distance.values()))}; class accuracy {accuracy[0]:.2f} to {max(accuracy):.2f}",
             shape(0 < best < max(distance) and accuracy[0] < max(accuracy))]]


def likelihoods() -> list[list[str]]:
    """DDPM's rate and distortion, and what a learned variance gains in Improved DDPM."""
    table = zoo.tables("fashion_likelihood")
    learned = {row["variance"]: row for row in table["fashion_learned"]["rows"] if row["limit"]}
    fixed = next(row for row in table["fashion"]["rows"] if row["limit"] and row["variance"] == "large")
    return [["DDPM {cite}`ho2020ddpm`, Table 1 and section 4.3", "CIFAR-10: at most 3.75 bits/dim, rate 1.78, distortion 1.97: more than half describes what nobody sees",
             f"at most {fixed['total'][0]:.2f} bits/dim, rate {fixed['kl'][0]:.2f}, distortion {fixed['decoder'][0]:.2f}",
             shape(fixed["decoder"][0] > fixed["kl"][0])],
            ["Improved DDPM {cite}`nichol2021improved`, Table 2", "CIFAR-10: learned variance (L_hybrid) 3.17 bits/dim against 3.26 with L_simple, cosine",
             f"learned {learned['learned']['total'][0]:.2f} against {learned['large']['total'][0]:.2f} (fixed-large), same network", shape(
                 learned["learned"]["above_large"][0] + 3 * learned["learned"]["above_large"][1] < 0)]]


def bound_gaps() -> list[str]:
    """Gap of the bound for N(0, .25), linear T = 1000, in nats: from the terms of the bound and the entropy, with the exact denoiser."""
    schedule, variance = Schedule.linear(1000), torch.tensor(0.25, dtype=torch.float64)
    x0 = torch.tensor([[0.5], [-0.5]], dtype=torch.float64)  # every term is quadratic in x0: two points with the right second moment are enough
    eps = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    entropy = 0.5 * float(torch.log(2 * torch.pi * torch.e * variance))
    gaps = []
    for kind in ("small", "large"):
        total = float(vlb_prior(schedule, x0).mean())
        for t in range(1, 1001):
            a = float(schedule.alpha_bar[t])
            for sign in (1, -1):
                x_t = a**0.5 * x0 + (1 - a) ** 0.5 * sign * eps
                exact = Prediction(x_t, schedule.at(torch.full((2,), t)), "x0", a**0.5 * 0.25 / (a * 0.25 + 1 - a) * x_t)
                total += float(vlb_term(exact, schedule, x0, torch.full((2,), t), variance=kind, bins=None).mean()) / 2
        gaps.append(total - entropy)
    return [f"{gap:.4f}" for gap in gaps]


def exact_runs() -> list[list[str]]:
    """Numbers that the book's oracles give to every printed digit."""
    small, large = bound_gaps()
    schedule = Schedule.cosine(1000)
    denoiser = GaussianMixture([1.0], torch.zeros(1, 1, dtype=torch.float64), [0.25]).denoiser(schedule)
    factor = float(final(ddim(denoiser, torch.ones(1, 1, dtype=torch.float64), schedule, steps=20)))
    classes = GaussianMixture([0.5, 0.5], torch.tensor([[-1.0], [1.0]], dtype=torch.float64), [0.25, 0.25], labels=[0, 1]).denoiser(schedule)
    x = torch.special.ndtri((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)[:, None]
    end = final(ddim(guided(classes, 3.0), x, schedule, steps=1000, cond=torch.ones(2000, dtype=torch.long)))
    return [["gap of the bound, N(0, .25), linear T = 1000", "fixed-small .570 nats, fixed-large .0011", f"{small}, {large}",
             "reproduced" if (f"{float(small):.3f}", large) == ("0.570", "0.0011") else DIFFERENT],
            ["variance that 20 steps of DDIM lose, N(0, .25), cosine", "-.036", f"{factor**2 - 0.25:.3f}",
             "reproduced" if f"{factor**2 - 0.25:.3f}" == "-0.036" else DIFFERENT],
            ["guided flow, classes at +-1, sd .5, w = 3", "mean 1.68, sd .29 (the tilted density: 1.06, .45)", f"mean {float(end.mean()):.2f}, sd {float(end.std()):.2f}",
             "reproduced" if (f"{float(end.mean()):.2f}", f"{float(end.std()):.2f}") == ("1.68", "0.29") else DIFFERENT]]


NOT_ATTEMPTED = [
    ["DDPM, Table 1", "CIFAR-10 FID 3.17", "no CIFAR-10 network is trained here; [published weights can be loaded](checkpoints.md)", "not attempted"],
    ["DDPM, Table 2", "FID with other targets and losses: 13.51 (eps, L), 13.22 (mu, L), 23.69 (mu, learned variance)", "", "not attempted"],
    ["Improved DDPM, Table 2", "4K steps; L_vlb 2.94 bits/dim at FID 11.5", "", "not attempted"]]


def text() -> str:
    rows = [*ddim_table(), *reconstruction(), *guidance_table(), *likelihoods(), *exact_runs(), *NOT_ATTEMPTED]
    lines = ["| where | verdict | published | this book, Fashion-MNIST or exact |", "|---|---|---|---|"]  # the verdict first: narrow screens cut the rest
    return "\n".join([*lines, *(f"| {where} | {verdict} | {published} | {ours} |" for where, published, ours, verdict in rows)]) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf8")
