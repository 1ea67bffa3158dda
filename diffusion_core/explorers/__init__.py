"""Figures with sliders: live in a notebook, stored pictures in the page, a sweep in the tests."""

from .copying import copying_explorer
from .edit_strength import edit_strength_explorer
from .elbo_gap import elbo_gap_explorer
from .ema_half_life import ema_explorer
from .explorer import Explorer, first_frame
from .figure import Control, Engine, Frame, Pictures, Plot, Series
from .fill_order import fill_order_explorer
from .forward import forward_explorer
from .interval import interval_explorer
from .loss_spending import loss_spending_explorer
from .particles import particles_explorer
from .reverse_kernel import reverse_kernel_explorer
from .steps_eta import steps_eta_explorer
from .strength import strength_explorer
from .variance_gap import variance_gap_explorer

__all__ = [
    "Control",
    "Engine",
    "Explorer",
    "Frame",
    "Pictures",
    "Plot",
    "Series",
    "copying_explorer",
    "edit_strength_explorer",
    "elbo_gap_explorer",
    "ema_explorer",
    "fill_order_explorer",
    "first_frame",
    "forward_explorer",
    "interval_explorer",
    "loss_spending_explorer",
    "particles_explorer",
    "reverse_kernel_explorer",
    "steps_eta_explorer",
    "strength_explorer",
    "variance_gap_explorer",
]
