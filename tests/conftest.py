"""Settings of every test: one thread, and the same hypothesis examples at each run."""

import torch
from hypothesis import settings

torch.set_num_threads(1)  # the last bits depend on it, and two suites may run side by side

# No deadline: a first call may have to import. No database: it would be a file in the tree.
settings.register_profile("book", derandomize=True, deadline=None, database=None, max_examples=100)
settings.load_profile("book")
