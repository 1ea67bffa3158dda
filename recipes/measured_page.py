"""Write the tables and figures of the book's page "What was measured" from the measured JSON: book/measured/*.md and *.svg.

Nothing is measured here; a test compares the committed tables with what this writes.
"""

from pathlib import Path

from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from diffusion_core import zoo
from diffusion_core.plots import CYCLE

FOLDER = Path(__file__).resolve().parents[1] / "book" / "measured"
SOLVERS = {"ddim": "DDIM", "dpmpp_2m": "DPM-Solver++(2M)", "adams": "exponential Adams", "heun": "Heun"}
GUIDANCE = {"none": "none", "guided": "classifier-free", "interval": "classifier-free, 300 <= t <= 700 only",
            "rescaled": "classifier-free, rescaled, phi = 0.7", "thresholded": "classifier-free, dynamic thresholding, 99.5 %",
            "autoguided": "autoguidance (weak network)", "classifier": "classifier guidance, noise grid rho = 30"}
NETWORKS = {"fashion_guided": "guidance distilled", "fashion_few4": "guidance distilled, then progressive, 4 steps"}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def spread(values: list[float], digits: int = 2) -> str:
    """Mean over seeds with least and greatest; one seed alone."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (one seed)"
    return f"{mean(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def solver_label(row: dict) -> str:
    return SOLVERS[row["solver"]] + (f", noise grid rho = {row['rho']:g}" if "rho" in row else "")


def solvers(fast: dict) -> str:
    return table(["solver", "guided evaluations", "Frechet distance", "class accuracy", "recall"],
                 [[solver_label(row), str(row["evaluations"]), spread(row["frechet"]), f"{mean(row['accuracy']):.3f}",
                   f"{mean(row['recall']):.2f}"] for row in fast["solvers"]])


def family(fast: dict) -> str:
    return table(["guidance", "w", "Frechet distance", "class accuracy", "precision", "recall"],
                 [[GUIDANCE[row["guidance"]], f"{row['w']:g}" if "w" in row else "", spread(row["frechet"]), f"{mean(row['accuracy']):.3f}",
                   f"{mean(row['precision']):.2f}", f"{mean(row['recall']):.2f}"] for row in fast["family"]])


def distilled(fast: dict) -> str:
    return table(["network", "sampler", "evaluations", "Frechet distance", "class accuracy", "recall"],
                 [[NETWORKS[row["network"]], SOLVERS[row["solver"]], str(row["evaluations"]), spread(row["frechet"]),
                   f"{mean(row['accuracy']):.3f}", f"{mean(row['recall']):.2f}"] for row in fast["distilled"]])


def likelihood(measured: dict) -> str:
    rows = []
    for name in ("fashion", "fashion_learned"):
        for row in measured[name]["rows"]:
            limit = "[-1, 1]" if row["limit"] else "none"
            rows.append([f"`{name}`", row["variance"], limit, *(f"{row[key][0]:.2f}" for key in ("kl", "decoder")),
                         f"{row['total'][0]:.3f} ± {row['total'][1]:.3f}", f"{row['above_large'][0]:+.3f} ± {row['above_large'][1]:.3f}"])
    return table(["network", "variance", "limit of x0-hat", "KL terms", "decoder", "bound (bits/dim)", "above large variance"], rows)


def solver_figure(fast: dict) -> Figure:
    """Mean Frechet distance against evaluations, both logarithmic; the bars reach from least to greatest seed."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasSVG(figure)
    axis = figure.subplots()
    labels = list(dict.fromkeys(solver_label(row) for row in fast["solvers"]))
    for label, colour, marker in zip(labels, CYCLE, "osD^v", strict=False):
        rows = sorted((row for row in fast["solvers"] if solver_label(row) == label), key=lambda row: row["evaluations"])
        x, y = [row["evaluations"] for row in rows], [mean(row["frechet"]) for row in rows]
        ends = [[m - min(row["frechet"]) for m, row in zip(y, rows, strict=True)], [max(row["frechet"]) - m for m, row in zip(y, rows, strict=True)]]
        axis.errorbar(x, y, yerr=ends, marker=marker, color=colour, label=label, capsize=3)
    axis.axhline(mean(fast["floor"]), color="black", ls=":", lw=1, label="2,000 training pictures")
    axis.set(xscale="log", yscale="log", ylim=(0.1, 10), xlabel="guided evaluations of the network", ylabel="Frechet distance to the test set")
    axis.set_xticks([4, 8, 20, 50], ["4", "8", "20", "50"])
    axis.minorticks_off()
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure


def pieces() -> dict[str, str]:
    """File name -> text of every table."""
    fast, measured = zoo.tables("fashion_fast"), zoo.tables("fashion_likelihood")
    return {"solvers.md": solvers(fast), "family.md": family(fast), "distilled.md": distilled(fast), "likelihood.md": likelihood(measured)}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pieces().items():
        (FOLDER / name).write_text(text, "utf8")
    solver_figure(zoo.tables("fashion_fast")).savefig(FOLDER / "solvers.svg", metadata={"Date": None})
