"""Real pictures: bundled subsets that need no network, full sets from files on this machine or a checksummed download."""

from .fashion import CLASSES, fashion_mnist
from .pictures import batches, to_pictures

__all__ = ["CLASSES", "batches", "fashion_mnist", "to_pictures"]
