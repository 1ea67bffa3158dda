"""Serve ONNX Runtime Web from the book itself: with it the explorers run the shipped networks in the reader's browser.

The files come from the npm package, downloaded once into `_build/vendor` and checked by checksum. Without it and without a network the book
is built all the same: its explorers then show pictures computed beforehand.
"""

import hashlib
import os
import shutil
import tarfile
from importlib.metadata import distribution
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from diffusion_core.data.fashion import fetch

VERSION = "1.30.0"
ADDRESS = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FOLDER = f"vendor/onnxruntime-web-{VERSION}/"  # in _static
# The build for WebAssembly alone: what a page imports, and what that loads from the folder `env.wasm.wasmPaths`.
FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
TERMS = ("LICENSE", "ThirdPartyNotices.txt")  # missing in the npm package; the Python package of the same project holds them


def package(folder: Path, address: str = ADDRESS, sha256: str = SHA256) -> Path | None:
    """The npm package in folder, downloaded if it is not there; None, and a line that says so, where the network fails.

    ExtensionError for a file that is not the one this book was tested with. An interrupted download goes on where it stopped.
    """
    path = folder / address.rpartition("/")[2]
    if path.exists():
        return _checked(path, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    try:
        fetch(address, partial)
    except OSError as error:
        # No Sphinx message: as a warning it would stop the build, as information `-q` would hide it.
        print(f"book: no ONNX Runtime Web ({address}: {error}), so explorers with networks will show pictures computed beforehand", flush=True)
        return None
    os.replace(_checked(partial, sha256), path)
    return path


def _checked(path: Path, sha256: str) -> Path:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        path.unlink()
        raise ExtensionError(f"{path} had SHA-256 {found}, expected {sha256} (ONNX Runtime Web {VERSION}); it was removed, build again")
    return path


def unpack(package: Path, target: Path) -> None:
    """Write FILES, under their own names and nothing else, and TERMS into the folder target."""
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for name in FILES:
            member = archive.getmember(f"package/dist/{name}")
            if not member.isreg():
                raise ExtensionError(f"{name} in {package} is no plain file")
            with archive.extractfile(member) as source, open(target / name, "wb") as file:
                shutil.copyfileobj(source, file)
    for name in TERMS:
        shutil.copy2(distribution("onnxruntime").locate_file(f"onnxruntime/{name}"), target / name)


def copy(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    if found := package(Path(app.outdir).parent / "vendor"):
        unpack(found, Path(app.outdir, "_static", FOLDER))


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", copy, priority=400)  # before web_explorers, which writes down whether it is there
    return {"parallel_read_safe": True, "parallel_write_safe": True}
