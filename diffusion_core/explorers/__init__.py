"""Figures with sliders: live in a notebook, stored pictures in the page, a sweep in the tests."""

from .elbo_gap import elbo_gap_explorer
from .explorer import Explorer, first_frame
from .figure import Control, Frame
from .forward import forward_explorer
from .reverse_kernel import reverse_kernel_explorer
from .steps_eta import steps_eta_explorer
from .strength import strength_explorer
from .variance_gap import variance_gap_explorer

__all__ = [
    "Control",
    "Explorer",
    "Frame",
    "elbo_gap_explorer",
    "first_frame",
    "forward_explorer",
    "reverse_kernel_explorer",
    "steps_eta_explorer",
    "strength_explorer",
    "variance_gap_explorer",
]
