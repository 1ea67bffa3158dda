"""Real pictures: bundled subsets that need no network, full sets from files on this machine or a checksummed download, streams from disk."""

from .fashion import CLASSES, fashion_mnist
from .pictures import batches, to_pictures
from .streams import Stream

__all__ = ["CLASSES", "Stream", "batches", "fashion_mnist", "to_pictures"]
