"""The page of measurements shows what the recipes measured, and what was measured keeps the promises made of it."""

import importlib.util
from pathlib import Path

import pytest

from diffusion_core import zoo

ROOT = Path(__file__).parents[2]


def page():
    spec = importlib.util.spec_from_file_location("measured_page", ROOT / "recipes" / "measured_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(table, **setting):
    return [row for row in zoo.tables("fashion_fast")[table] if setting.items() <= row.items()]


@pytest.mark.parametrize("name", ["solvers.md", "family.md", "distilled.md", "likelihood.md"])
def test_the_page_shows_the_tables(name):
    assert (ROOT / "book" / "measured" / name).read_text("utf8") == page().pieces()[name]


def test_eight_calls_come_near_fifty_of_ddim():
    """Within 1.3 times, seed by seed."""
    fifty, = rows("solvers", solver="ddim", evaluations=50)
    best = min((row for row in rows("solvers", evaluations=8)), key=lambda row: sum(row["frechet"]))
    assert len(fifty["frechet"]) == 3
    assert all(eight <= 1.3 * at_fifty for eight, at_fifty in zip(best["frechet"], fifty["frechet"], strict=True))


def test_the_solvers_rank_as_the_page_says():
    """At every count up to 20 the Adams method is below DPM-Solver++(2M), and that below DDIM."""
    for n in (4, 8, 20):
        adams, second, ddim = (sum(rows("solvers", solver=s, evaluations=n)[0]["frechet"]) for s in ("adams", "dpmpp_2m", "ddim"))
        assert adams < second < ddim, n


@pytest.mark.parametrize("network", ["fashion_guided", "fashion_few4"])
def test_four_distilled_evaluations_are_good_enough(network):
    four, = rows("distilled", network=network, evaluations=4)
    assert len(four["frechet"]) == 3
    assert max(four["frechet"]) <= 1.5


def test_the_learned_variance_codes_better():
    """Its bound is below that of the large variance on the same pictures and noise by more than three standard errors."""
    for row in zoo.tables("fashion_likelihood")["fashion_learned"]["rows"]:
        if row["variance"] == "learned":
            mean, error = row["above_large"]
            assert mean + 3 * error < 0


def test_the_ledger_is_what_the_runs_give():
    spec = importlib.util.spec_from_file_location("ledger", ROOT / "recipes" / "ledger.py")
    ledger = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ledger)
    assert ledger.FILE.read_text("utf8") == ledger.text()
    assert all(row[-1] == "reproduced" for row in ledger.exact_runs())
