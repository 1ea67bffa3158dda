"""The notebooks as the book shows them: executed at most once, into the cache that `make book` reads too."""

import pytest

import notebooks


@pytest.fixture(scope="session")
def executed():
    """Function from a notebook's path to the notebook with freshly computed outputs."""
    failures = notebooks.fill(notebooks.notebooks())

    def read(path):
        assert path not in failures, f"{path.name} does not run:\n{failures[path]}"
        return notebooks.executed(path)

    return read
