"""Pictures that are read from disk as training goes: a folder, Parquet files or WebDataset shards, larger than memory.

The files are read through Hugging Face `datasets` and dealt out to lanes, one for each micro-batch of a step, so that what a micro-batch
holds depends on no number of processes. Within a lane blocks of `buffer` rows are shuffled; the position is an epoch, a block, the library's
position at the start of that block, and how many rows of it were delivered, from which the same rows follow again.
"""

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from glob import glob
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..training import seeded

if TYPE_CHECKING:
    from datasets import IterableDataset

SUFFIXES = {"folder": (".jpg", ".jpeg", ".png", ".webp", ".bmp"), "parquet": (".parquet",), "webdataset": (".tar",)}


@dataclass(frozen=True)
class Stream:
    """Pictures (channels, size, size) in [-1, 1] and labels, streamed from files; `fit` takes it as its data.

    source: "folder" (picture files, each in the folder of its class), "parquet" or "webdataset" (.tar). path: a folder, searched with its
    subfolders, or a glob pattern. image and label: the columns of picture and label; for WebDataset these are suffixes ("jpg", "cls"). label
    None: no labels. A folder's columns are "image" and "label", the number of the picture's folder among their sorted names. A picture is cut to
    the square at its centre and resized. buffer: rows shuffled together, which stay in memory as they are on disk, once for each lane a process
    has. threads: that decode pictures ahead of the training. Raises ValueError for an unknown source, sizes below 1 and a path without files.

    With at least as many files as a step has micro-batches each lane reads files of its own; with fewer, each reads all and keeps its share.
    """

    source: str
    path: str
    size: int
    channels: int = 3
    image: str = "image"
    label: str | None = None
    buffer: int = 1024
    threads: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.source not in SUFFIXES:
            raise ValueError(f"source must be one of {list(SUFFIXES)}, or \"fashion\" in a recipe, got {self.source!r}")
        if min(self.size, self.buffer, self.threads) < 1 or self.channels not in (1, 3):
            raise ValueError(f"size, buffer and threads must be at least 1 and channels 1 or 3, got {self}")
        if self.source == "folder" and (self.image != "image" or self.label not in (None, "label")):
            raise ValueError(f"the columns of a folder are 'image' and 'label', got {self.image!r} and {self.label!r}")
        self.files  # looked for now, so that a wrong path is named now

    @cached_property
    def files(self) -> list[str]:
        """The files of the data, sorted; raises ValueError if there are none."""
        found = Path(self.path).rglob("*") if Path(self.path).is_dir() else map(Path, glob(self.path, recursive=True))
        files = sorted(str(file) for file in found if file.suffix.lower() in SUFFIXES[self.source])
        if not files:
            raise ValueError(f"no {' or '.join(SUFFIXES[self.source])} file at {self.path}")
        return files

    def lane(self, k: int, n: int) -> "Lane":
        """Lane k of n: a share of the rows that no other lane has, over and over, in another order each time."""
        return Lane(self, k, n)

    def rows(self, epoch: int, k: int, n: int) -> "IterableDataset":
        """Lane k's rows of one epoch: the files in an order of that epoch's own, split into n shares."""
        import datasets  # takes a second, which only those who stream should pay
        from datasets.distributed import split_dataset_by_node
        from datasets.packaged_modules.parquet.parquet import Parquet
        from datasets.packaged_modules.webdataset.webdataset import WebDataset

        files = self.files
        order = torch.randperm(len(files), generator=seeded(self.seed, epoch)).tolist()
        shuffled = [files[i] for i in order]
        if self.source == "folder":
            classes = sorted({Path(file).parent.name for file in files})
            numbers = {name: number for number, name in enumerate(classes)}
            rows = datasets.IterableDataset.from_generator(_pictures, gen_kwargs={"files": shuffled, "numbers": numbers})
        else:
            # The builder itself, because load_dataset reports each use to a server.
            builder = {"parquet": Parquet, "webdataset": WebDataset}[self.source](data_files=shuffled)
            rows = builder.as_streaming_dataset("train").decode(False)
        return split_dataset_by_node(rows, rank=k, world_size=n, strategy="shards" if len(files) >= n else "examples")

    def picture(self, row: dict) -> np.ndarray:
        """The uint8 picture (size, size, channels) of a row; raises ValueError, naming the row, if it is none."""
        stored = row[self.image]
        source, name = (stored["bytes"], stored["path"]) if isinstance(stored, dict) else (stored, None)
        if isinstance(source, str) or source is None:
            source, name = source or name, source or name
        try:
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as opened:
                opened.draft(None, (2 * self.size, 2 * self.size))  # a JPEG is decoded at the smallest of its scales above this
                return np.asarray(ImageOps.fit(opened.convert("RGB" if self.channels == 3 else "L"), (self.size, self.size),
                                               Image.Resampling.BICUBIC)).reshape(self.size, self.size, self.channels)
        except (OSError, SyntaxError, TypeError) as error:
            raise ValueError(f"{name or row.get('__key__') or 'a row'} of {self.path} holds no picture that can be read: {error}") from error


def _pictures(files: list[str], numbers: dict[str, int]) -> Iterator[dict]:
    for file in files:
        yield {"image": file, "label": numbers[Path(file).parent.name]}


class Lane:
    """An endless sequence of rows as a `training.Batch`: lane(generator, n) gives its next n pictures and labels (the generator is not used).

    The pictures of the next call are decoded while the network trains. `state_dict` is the position after the last row delivered.
    """

    def __init__(self, stream: Stream, k: int, n: int) -> None:
        self.stream, self.k, self.n = stream, k, n
        self._reader, self._decoders = ThreadPoolExecutor(1), ThreadPoolExecutor(stream.threads)
        self._data = {"source": stream.source, "files": len(stream.files), "buffer": stream.buffer, "seed": stream.seed, "lanes": n}
        self._start({"epoch": 0, "block": 0, "library": None, "delivered": 0})

    def __call__(self, generator: torch.Generator, n: int) -> tuple[Tensor, Tensor | None]:
        self._filling.result()
        self._fill(n - len(self._ready))
        taken = [self._ready.popleft() for _ in range(n)]
        self._filling = self._reader.submit(self._fill, n)
        pictures = torch.from_numpy(np.stack([picture.result() for picture, _, _ in taken])).permute(0, 3, 1, 2)
        self._position = taken[-1][2]
        labels = None if self.stream.label is None else torch.tensor([label for _, label, _ in taken])
        return pictures.float() / 127.5 - 1, labels

    def state_dict(self) -> dict:
        """The position after the last row that was delivered, and what it is a position in."""
        return {"data": self._data, "position": self._position}

    def load_state_dict(self, state: dict) -> None:
        """Go on from a position; raises ValueError if it is one in other data or in another order."""
        if state["data"] != self._data:
            raise ValueError(f"the position is one in {state['data']}, not in {self._data}")
        wait([self._filling])
        self._start(state["position"])

    def _start(self, position: dict) -> None:
        self._position, self._rows = position, self._from(**position)
        self._ready: deque[tuple[Future, int | None, dict]] = deque()
        self._filling = self._reader.submit(self._fill, 0)

    def _fill(self, n: int) -> None:
        for row, position in islice(self._rows, max(n, 0)):
            self._ready.append((self._decoders.submit(self.stream.picture, row), self._label(row), position))

    def _label(self, row: dict) -> int | None:
        if self.stream.label is None:
            return None
        label = row[self.stream.label]
        if not isinstance(label, int):
            raise ValueError(f"labels must be integers, got {label!r} in column {self.stream.label!r}")
        return label

    def _from(self, epoch: int, block: int, library: dict | None, delivered: int) -> Iterator[tuple[dict, dict]]:
        """Rows from a position on, each with the position after it."""
        while True:
            rows = self.stream.rows(epoch, self.k, self.n)
            if library is not None:
                rows.load_state_dict(library)
            iterator = iter(rows)
            while chunk := list(islice(iterator, self.stream.buffer)):
                self._check(chunk[0])
                following = rows.state_dict()
                order = torch.randperm(len(chunk), generator=seeded(self.stream.seed, epoch, block, self.k))
                for done in range(delivered, len(chunk)):
                    yield chunk[order[done]], {"epoch": epoch, "block": block, "library": library, "delivered": done + 1}
                block, library, delivered = block + 1, following, 0
            if block == 0:
                raise ValueError(f"{self.stream.path} has no row for lane {self.k}: fewer rows than the {self.n} micro-batches of a step")
            epoch, block, library = epoch + 1, 0, None

    def _check(self, row: dict) -> None:
        for column in filter(None, (self.stream.image, self.stream.label)):
            if column not in row:
                raise ValueError(f"no column {column!r} in {self.stream.path}: there are {', '.join(sorted(row))}")
