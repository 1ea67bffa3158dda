"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): 60,000 + 10,000 grey pictures of clothes, 28 x 28, ten classes. Licence: MIT."""

import gzip
import hashlib
import os
import urllib.error
import urllib.request
import zlib
from pathlib import Path

import numpy as np

CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
BUNDLE = Path(__file__).with_name("fashion_mnist.npz")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")  # where the package dataset-fashion-mnist puts the four files
ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# SHA-256 of the *unpacked* files: packages and mirrors compress them differently.
FILES = {
    ("train", "images"): ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    ("train", "labels"): ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    ("test", "images"): ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    ("test", "labels"): ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
# SHA-256 of the arrays in the bundle, made by recipes/fashion_mnist.py.
BUNDLE_SHA256 = {
    "train_images": "dcda5d31d243feac2ab8288403fb2d43b54ca240d7c12197455f1e39d833ad86",
    "train_labels": "2e644148ef646934f58b19f0438388158849ba050e4e3f3ac4f56f55972b496f",
    "test_images": "96315b1732ab731e68b8def3c284f34b605f7deb7a61e683c7d786265c827c83",
    "test_labels": "b2095bc797d1201e84da76c94012c02d0e6f07af0938df4e00120a3b42d1aa4c",
}


def fashion_mnist(split: str = "train", source: str = "bundle", folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 28, 28) uint8 in 0 .. 255 and labels (N,) uint8 in 0 .. 9 (names in CLASSES).

    split is "train" or "test". source "bundle" is the balanced subset shipped with the book (8,000 and 2,000); "full" is the whole set
    (60,000 and 10,000) from `folder`, else from Debian's package, else from the cache, else by download into the cache. Raises
    ValueError for other names and for a file that is truncated or altered, OSError where a download fails.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}")
    if source == "bundle":
        return _bundled(split)
    if source != "full":
        raise ValueError(f"source must be 'bundle' or 'full', got {source!r}")
    if folder is None:
        folder = DEBIAN if DEBIAN.is_dir() else download(cache_folder())
    return read_idx(folder, split, "images"), read_idx(folder, split, "labels")


def _bundled(split: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(BUNDLE, allow_pickle=False) as arrays:
        images, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
    for name, array in ((f"{split}_images", images), (f"{split}_labels", labels)):
        _check(f"{name} in {BUNDLE.name}", array.tobytes(), BUNDLE_SHA256[name])
    return images, labels


def read_idx(folder: Path, split: str, what: str) -> np.ndarray:
    """The array of one of the four IDX files (.gz) in folder; raises ValueError if the file is missing, truncated or altered."""
    name, sha256 = FILES[split, what]
    path = Path(folder) / f"{name}.gz"
    if not path.is_file():
        raise ValueError(f"{path.name} is not in {folder}")
    try:
        raw = gzip.decompress(path.read_bytes())
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path.name} is truncated or no gzip file: {error}") from error
    _check(path.name, raw, sha256)
    # IDX: two zero bytes, a type (8 = uint8), the number of dimensions, each size as a big-endian int32, then the values.
    sizes = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes).copy()


def cache_folder() -> Path:
    """Where downloads are kept: $DIFFUSION_BOOK_CACHE, else .cache/diffusion-book in the home folder."""
    return Path(os.environ.get("DIFFUSION_BOOK_CACHE", Path.home() / ".cache" / "diffusion-book")) / "fashion-mnist"


def download(folder: Path, address: str = ADDRESS) -> Path:
    """Fetch those of the four files (30.9 MB in all) that folder lacks. An interrupted download goes on where it stopped.

    Returns folder. A file takes its name only when its checksum is right; otherwise ValueError names it and the partial file is removed.
    Raises OSError where the network fails; what has arrived is kept for the next call.
    """
    for name, sha256 in FILES.values():
        path = Path(folder) / f"{name}.gz"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".gz.partial")
        fetch(address + path.name, partial)
        try:
            _check(path.name, gzip.decompress(partial.read_bytes()), sha256)
        except (ValueError, EOFError, OSError, zlib.error) as error:
            partial.unlink()
            raise ValueError(f"{path.name} arrived altered: {error}; it was removed, try again") from error
        os.replace(partial, path)
    return folder


def fetch(url: str, partial: Path) -> None:
    """Append to `partial` what it still lacks of the file at url."""
    have = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to fetch
            return
        raise
    with answer, open(partial, "ab" if answer.status == 206 else "wb") as file:  # 206: the server sends the rest only
        expected = int(answer.headers.get("Content-Length", 0))
        received = 0
        while block := answer.read(1 << 16):
            received += file.write(block)
    if received < expected:  # urllib ends quietly when a connection is cut
        raise ConnectionError(f"{url} stopped after {received} of {expected} bytes: call again to fetch the rest")


def _check(name: str, raw: bytes, sha256: str) -> None:
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise ValueError(f"{name} is truncated or altered: its SHA-256 is {found[:12]}.., not {sha256[:12]}..")
