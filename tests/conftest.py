"""Settings of every test: one thread, and the same hypothesis examples at each run."""

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)  # the last bits depend on it, and two suites may run side by side

# No deadline: a first call may have to import. No database: it would be a file in the tree.
settings.register_profile("book", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("book")


@pytest.fixture(autouse=True)
def outside_the_build(monkeypatch):
    """Running notebooks sets BOOK_BUILD for the whole process, and an explorer made under it draws its stills: no test should inherit that."""
    monkeypatch.delenv("BOOK_BUILD", raising=False)
