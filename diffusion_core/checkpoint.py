"""Checkpoints on disk: a crash leaves the old one or the new one, never half of one, and damage is recognised.

A checkpoint is what torch.save writes, followed by the SHA-256 of those bytes. torch.load passes over what follows its archive.
"""

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import torch

KEYS = {"settings", "net", "ema", "updates", "optimiser", "data", "step", "seconds", "log"}
DIGEST = hashlib.sha256().digest_size


class Hashing:
    """A file being written, with the checksum of what was written so far."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.sha256 = file, hashlib.sha256()

    def write(self, piece: bytes) -> int:
        """Append piece; returns its length."""
        self.sha256.update(piece)
        return self.file.write(piece)

    def flush(self) -> None:
        """Hand what was written to the system."""
        self.file.flush()


def write_checkpoint(state: dict, path: Path) -> None:
    """Write state to path so that a crash at any moment leaves either the old file or the new one, whole and on the disk."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        hashing = Hashing(file)
        torch.save(state, hashing)
        file.write(hashing.sha256.digest())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(path.parent, os.O_RDONLY)  # the new name, too, must outlive a power cut
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(path: Path) -> dict:
    """The state in a checkpoint, on the CPU; raises ValueError, and leaves the file, if it is cut short, altered or of another kind."""
    sha256, left = hashlib.sha256(), path.stat().st_size - DIGEST
    with open(path, "rb") as file:
        while left > 0 and (piece := file.read(min(left, 1 << 20))):
            sha256.update(piece)
            left -= len(piece)
        whole = left == 0 and file.read() == sha256.digest()
    advice = "put a copy of it back, or remove it to start from the beginning"
    if not whole:
        raise ValueError(f"checkpoint {path.name} is cut short, altered or of an older version: {advice}")
    state = torch.load(path, weights_only=True, map_location="cpu")
    if not isinstance(state, dict) or set(state) != KEYS:
        raise ValueError(f"{path.name} is no checkpoint of a training, which holds {sorted(KEYS)}: {advice}")
    return state
