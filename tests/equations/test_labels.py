"""Every numbered equation of the book has a check, and every check an equation."""

import importlib
from pathlib import Path

from bindings import BOUND, labels


def test_every_equation_has_a_check_and_every_check_an_equation():
    for module in Path(__file__).parent.glob("test_eq_*.py"):
        importlib.import_module(module.stem)
    found = set(labels())
    assert found, "no labelled equation found: has the pattern or the folder changed?"
    assert found - set(BOUND) == set(), "equations without a check"
    assert set(BOUND) - found == set(), "checks of equations that are nowhere"
