"""Data: the bundle and its rebuilding, files that are altered, and a download that was interrupted. Nothing here uses the network."""

import contextlib
import gzip
import hashlib
import http.server
import importlib.util
import shutil
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion_core.data import CLASSES, batches, fashion, fashion_mnist, to_pictures

HAVE_FULL_SET = fashion.DEBIAN.is_dir()


@pytest.mark.parametrize(("split", "n"), [("train", 8000), ("test", 2000)])
def test_the_bundle(split, n):
    images, labels = fashion_mnist(split)
    assert images.shape == (n, 28, 28) and images.dtype == np.uint8 and images.min() == 0 and images.max() == 255
    assert labels.shape == (n,) and np.bincount(labels).tolist() == [n // 10] * 10
    assert len(CLASSES) == 10


@pytest.mark.skipif(not HAVE_FULL_SET, reason="the full set is not on this machine (Debian package dataset-fashion-mnist)")
def test_the_recipe_rebuilds_the_bundle():
    """Equal arrays, not equal files: zip files differ by zlib version."""
    path = Path(__file__).parents[2] / "recipes" / "fashion_mnist.py"
    spec = importlib.util.spec_from_file_location("fashion_mnist_recipe", path)
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    arrays = recipe.build()
    assert {name: hashlib.sha256(array.tobytes()).hexdigest() for name, array in arrays.items()} == fashion.BUNDLE_SHA256


@pytest.mark.skipif(not HAVE_FULL_SET, reason="the full set is not on this machine (Debian package dataset-fashion-mnist)")
def test_the_full_set():
    images, labels = fashion_mnist("test", source="full")
    assert images.shape == (10_000, 28, 28) and np.bincount(labels).tolist() == [1000] * 10


@pytest.mark.parametrize(("options", "message"), [
    ({"split": "valid"}, "split must be 'train' or 'test', got 'valid'"),
    ({"source": "web"}, "source must be 'bundle' or 'full', got 'web'")])
def test_unknown_names_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fashion_mnist(**options)


def test_an_altered_bundle_is_named_and_refused(monkeypatch, tmp_path):
    with np.load(fashion.BUNDLE) as bundle:
        arrays = dict(bundle)
    arrays["test_images"][3, 4, 5] ^= 1  # one bit
    monkeypatch.setattr(fashion, "BUNDLE", tmp_path / "fashion_mnist.npz")
    np.savez(fashion.BUNDLE, **arrays)
    with pytest.raises(ValueError, match="test_images in fashion_mnist.npz is truncated or altered: its SHA-256"):
        fashion_mnist("test")
    fashion_mnist("train")  # whose arrays are as they were


# Four small files in place of the real ones

def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}i", *array.shape) + array.tobytes()


@pytest.fixture
def small_set(monkeypatch, tmp_path):
    """A folder with four small files, which are what the checksums expect; and the arrays in them."""
    folder, arrays, files = tmp_path / "served", {}, {}
    folder.mkdir()
    rng = np.random.default_rng(0)
    for (split, what), (name, _) in fashion.FILES.items():
        array = rng.integers(0, 256, (90, 28, 28) if what == "images" else (90,), dtype=np.uint8)
        arrays[split, what], files[split, what] = array, (name, hashlib.sha256(idx(array)).hexdigest())
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    monkeypatch.setattr(fashion, "FILES", files)
    return folder, arrays


def test_files_of_a_folder(small_set):
    folder, arrays = small_set
    images, labels = fashion_mnist("test", source="full", folder=folder)
    assert np.array_equal(images, arrays["test", "images"]) and np.array_equal(labels, arrays["test", "labels"])


def truncated(raw):
    return raw[: len(raw) // 2]


def another_value(raw):
    array = bytearray(gzip.decompress(raw))
    array[50] ^= 1
    return gzip.compress(bytes(array))


@pytest.mark.parametrize("spoil", [truncated, another_value, lambda raw: b"<html>not found</html>", lambda raw: b""],
                         ids=["truncated", "altered", "no gzip", "empty"])
def test_a_spoilt_file_is_named_and_refused(small_set, spoil):
    folder, _ = small_set
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match="t10k-images-idx3-ubyte.gz is truncated or"):
        fashion_mnist("test", source="full", folder=folder)
    assert path.exists()


def test_a_missing_file_is_named(small_set):
    folder, _ = small_set
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(ValueError, match="train-labels-idx1-ubyte.gz is not in"):
        fashion_mnist("train", source="full", folder=folder)


# Downloads, from a server on this machine

class Server(http.server.ThreadingHTTPServer):
    """Serves a folder with byte ranges; `cut` breaks the next answer off after that many bytes; `asked` lists (path, Range)."""

    def __init__(self, folder, ranges=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ranges, self.cut, self.asked = folder, ranges, None, []
        self.address = f"http://127.0.0.1:{self.server_address[1]}/"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, wanted = self.server.folder / self.path.lstrip("/"), self.headers.get("Range")
        self.server.asked.append((self.path.lstrip("/"), wanted))
        if not path.exists():
            return self.send_error(404)
        raw = path.read_bytes()
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if wanted and start >= len(raw):
            return self.send_error(416)
        body = raw[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        self.wfile.write(body[:cut])

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serving(folder, **options):
    server = Server(folder, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_download_once(small_set, tmp_path, monkeypatch):
    """Through the public function: without Debian's package and with an empty cache the files come from the address, once."""
    folder, arrays = small_set
    monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "nowhere")
    monkeypatch.setenv("DIFFUSION_BOOK_CACHE", str(tmp_path / "cache"))
    with serving(folder) as server:
        monkeypatch.setattr(fashion.download, "__defaults__", (server.address,))
        for _ in range(2):
            images, _ = fashion_mnist("train", source="full")
            assert np.array_equal(images, arrays["train", "images"])
        assert [wanted for _, wanted in server.asked] == [None] * 4
    assert sorted(p.name for p in (tmp_path / "cache" / "fashion-mnist").iterdir()) == sorted(p.name for p in folder.iterdir())


@pytest.mark.parametrize("ranges", [True, False], ids=["server with ranges", "server without"])
def test_an_interrupted_download_goes_on(small_set, tmp_path, ranges):
    folder, arrays = small_set
    first = next(iter(fashion.FILES.values()))[0] + ".gz"
    cache = tmp_path / "cache"
    with serving(folder, ranges=ranges) as server:
        server.cut = 20_000
        with pytest.raises(OSError, match=f"{first} stopped after 20000 of"):
            fashion.download(cache, server.address)
        partial = cache / f"{first}.partial"
        assert partial.read_bytes() == (folder / first).read_bytes()[:20_000]
        assert not (cache / first).exists()

        fashion.download(cache, server.address)
        assert server.asked[1] == (first, "bytes=20000-")
        assert len(server.asked) == 5
    assert not list(cache.glob("*.partial"))
    for split in ("train", "test"):
        images, labels = fashion_mnist(split, source="full", folder=cache)
        assert np.array_equal(images, arrays[split, "images"]) and np.array_equal(labels, arrays[split, "labels"])


def test_a_partial_file_that_is_complete_needs_no_bytes(small_set, tmp_path):
    folder, _ = small_set
    first = next(iter(fashion.FILES.values()))[0] + ".gz"
    shutil.copy(folder / first, tmp_path / f"{first}.partial")
    with serving(folder) as server:
        fashion.download(tmp_path, server.address)
    assert (tmp_path / first).read_bytes() == (folder / first).read_bytes()


@pytest.mark.parametrize("spoil", [truncated, another_value], ids=["truncated", "altered"])
def test_an_altered_download_is_removed_and_named(small_set, tmp_path, spoil):
    folder, _ = small_set
    name, cache = "t10k-labels-idx1-ubyte.gz", tmp_path / "cache"
    good = (folder / name).read_bytes()
    (folder / name).write_bytes(spoil(good))
    with serving(folder) as server:
        with pytest.raises(ValueError, match=f"{name} arrived altered"):
            fashion.download(cache, server.address)
        assert not list(cache.glob("t10k-labels*")) and len(list(cache.iterdir())) == 3
        (folder / name).write_bytes(good)
        fashion.download(cache, server.address)
    assert len(list(cache.iterdir())) == 4


def test_a_file_that_the_server_lacks_is_an_error(small_set, tmp_path):
    folder, _ = small_set
    (folder / "train-images-idx3-ubyte.gz").unlink()
    with serving(folder) as server, pytest.raises(OSError, match="404"):
        fashion.download(tmp_path / "cache", server.address)
    assert not list((tmp_path / "cache").iterdir())


def test_pictures_lie_in_minus_1_to_1():
    x = to_pictures(np.array([[[0, 255], [51, 204]]], dtype=np.uint8))
    assert x.shape == (1, 1, 2, 2) and x.dtype == torch.float32
    assert x.flatten().tolist() == pytest.approx([-1, 1, -0.6, 0.6], abs=1e-6)


@pytest.mark.parametrize("images", [np.zeros((2, 4, 4)), np.zeros((4, 4), np.uint8), np.zeros((2, 1, 4, 4), np.uint8)])
def test_other_images_are_refused(images):
    with pytest.raises(ValueError, match=r"images must be uint8 of shape \(N, H, W\)"):
        to_pictures(images)


def test_batches_keep_pictures_and_labels_together():
    images = np.arange(50, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    draw = batches(images, np.arange(50, dtype=np.uint8) % 7)
    x, y = draw(torch.Generator().manual_seed(0), 300)
    number = ((x[:, 0, 0, 0] + 1) * 127.5).round().long()
    assert torch.equal(y, number % 7) and y.dtype == torch.long
    assert len(number.unique()) > 45  # from the whole set
    again, _ = draw(torch.Generator().manual_seed(0), 300)
    assert torch.equal(x, again)
