"""Copy the explorers' JavaScript into the site, and what it computes with: shipped networks, as ONNX files, and pictures.

Exporting a network takes seconds, so the files are kept in `_build/models`, under a key of all that they depend on. In the site a file's name
carries its checksum: a browser may keep it for ever. `_static/models/models.json` tells the page what there is.
"""

import hashlib
import inspect
import json
import os
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import onnx
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from torch import nn

import diffusion_core
import onnxruntime_web
from diffusion_core import zoo
from diffusion_core.explorers.copying import SIZES, picture_files
from diffusion_core.interop import onnx_runtime

EXPLORERS = Path(diffusion_core.__file__).with_name("explorers")
NETWORKS = ("fashion", "fashion_guided", "pixels_any", "fashion_classifier", *(f"copying_{side}{n}" for side in "ab" for n in SIZES))
# Kind of a card: how its network is loaded, and exported.
KINDS = {"diffusion": (lambda name, folder: zoo.load(name, folder)[0], onnx_runtime.to_onnx),
         "pixels": (zoo.load_pixels, onnx_runtime.pixels_to_onnx),
         "classifier": (zoo.load_classifier, onnx_runtime.classifier_to_onnx)}
END = "export default { render };"


def view(folder: Path) -> str:
    """The explorers' view as a classic script, since pages opened from `file://` can import no modules; it sets `explorerView`.

    ExtensionError if draw.js and explorer.js import or export anything but the view, at their end.
    """
    source = "".join((folder / name).read_text("utf8") for name in ("draw.js", "explorer.js")).rstrip()
    found = re.findall(r"^(?:import|export)\b.*", source, re.M)
    if found != [END] or not source.endswith(END):
        raise ExtensionError(f"draw.js and explorer.js must end with one {END!r} and import nothing, found {found}")
    return f'(() => {{\n"use strict";\n{source.removesuffix(END)}globalThis.explorerView = {{ render }};\n}})();\n'


def key(card: dict, net: nn.Module) -> str:
    """What an exported file depends on, in 16 hex digits: the weights, the exporter, and the code of the network."""
    modules = {inspect.getsourcefile(type(m)) for m in net.modules() if type(m).__module__.startswith("diffusion_core.")}
    digest = hashlib.sha256(repr((card["sha256"], *(version(name) for name in ("torch", "onnx", "onnxscript")))).encode())
    for path in (onnx_runtime.__file__, *sorted(modules)):
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()[:16]


def exported(name: str, cache: Path, weights: Path = zoo.FOLDER) -> tuple[dict, bytes]:
    """Card and ONNX file of shipped weights, from the folder cache if it is there. ExtensionError for a kind that no page can run."""
    card, _ = zoo.read(name, weights)
    if card["kind"] not in KINDS:
        raise ExtensionError(f"{name!r} is a {card['kind']}: networks of pages are of kind {', '.join(KINDS)}")
    load, export = KINDS[card["kind"]]
    net = load(name, weights)
    path = cache / f"{name}-{key(card, net)}.onnx"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_bytes(export(net))
        os.replace(partial, path)
    return card, path.read_bytes()


def publish(names: tuple[str, ...], target: Path, cache: Path, weights: Path = zoo.FOLDER) -> dict[str, dict]:
    """Write the networks into the folder target; returns what a page needs to know of each."""
    target.mkdir(parents=True, exist_ok=True)
    networks = {}
    for name in names:
        card, raw = exported(name, cache, weights)
        file = f"{name}-{hashlib.sha256(raw).hexdigest()[:8]}.onnx"
        (target / file).write_bytes(raw)
        networks[name] = {"file": file, "bytes": len(raw), "inputs": [i.name for i in onnx.load_model_from_string(raw).graph.input],
                          **{field: card.get(field) for field in ("schedule", "predicts", "clip", "kind")}}
    return networks


def copy(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.name != "html":
        return
    static, web = Path(app.outdir, "_static"), EXPLORERS / "web"
    shutil.copytree(web, static / "explorers", dirs_exist_ok=True)
    (static / "explorers" / "view.js").write_text(view(web), "utf8")
    networks = publish(NETWORKS, static / "models", Path(app.outdir).parent / "models")
    for name, raw in picture_files().items():
        (static / "models" / name).write_bytes(raw)
    runtime = onnxruntime_web.FOLDER if (static / onnxruntime_web.FOLDER).is_dir() else None
    (static / "models" / "models.json").write_text(json.dumps({"runtime": runtime, "networks": networks}, indent=1) + "\n", "utf8")


def setup(app: Sphinx) -> dict:
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
