"""What the site is given at build time: the explorers' files and networks, the runtime, and a content policy its pages keep."""

import hashlib
import io
import json
import re
import sys
import tarfile
from base64 import b64encode
from types import ModuleType

import onnxruntime
import pytest
import torch
from sphinx.errors import ExtensionError
from test_ext import build  # noqa: F401, a fixture

import content_policy
import onnxruntime_web
import web_explorers
from diffusion_core import UNet, UNetConfig, zoo
from diffusion_core.evaluation import FashionClassifier
from diffusion_core.pixels import PixelConfig, PixelNet

NAMES = ("small_pixels", "small_classifier")


def random(net, seed):
    """net with random weights everywhere, also where it starts from zero, and statistics of batch norms that are not those of a new one."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.randn(value.shape, generator=generator) * 0.2)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return net


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """(folder of the site's networks, what the page is told, folder of weights, cache) of two small networks."""
    weights, cache, target = (tmp_path_factory.mktemp(name) for name in ("weights", "cache", "models"))
    config = PixelConfig(order="any", levels=4, size=6, channels=8, blocks=2, classes=3)
    zoo.save(NAMES[0], random(PixelNet(config), 1), {"kind": "pixels", "network": config.to_dict()}, weights)
    zoo.save(NAMES[1], random(FashionClassifier(), 2), {"kind": "classifier"}, weights)
    return target, web_explorers.publish(NAMES, target, cache, weights), weights, cache


@pytest.fixture
def explorers(tmp_path, monkeypatch):
    """A folder of explorers to copy, without networks and without a runtime."""
    folder = tmp_path / "explorers"
    (folder / "web" / "lib").mkdir(parents=True)
    (folder / "web" / "draw.js").write_text("function paint() {}\n")
    (folder / "web" / "explorer.js").write_text("function render() { paint(); }\n\nexport default { render };\n")
    (folder / "web" / "explorer.css").write_text(".explorer {}\n")
    (folder / "web" / "lib" / "random.js").write_text("export const seed = 0;\n")
    monkeypatch.setattr(web_explorers, "EXPLORERS", folder)
    monkeypatch.setattr(web_explorers, "NETWORKS", ())
    return folder


def tarball(path, extra=()):
    """A package like npm's with the runtime's files, and members of other names; returns its checksum."""
    with tarfile.open(path, "w:gz") as archive:
        for name in [*extra, *(f"package/dist/{name}" for name in onnxruntime_web.FILES)]:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- explorers -------------------------------------------------------------------------------------------------------


def test_explorers_and_their_view_are_copied(build, explorers):  # noqa: F811
    out, warnings = build("text", "web_explorers")
    static = out / "_static" / "explorers"
    assert warnings == ""
    for name in ("draw.js", "explorer.js", "explorer.css", "lib/random.js"):
        assert (static / name).read_bytes() == (explorers / "web" / name).read_bytes()
    assert (static / "view.js").read_text() == ('(() => {\n"use strict";\nfunction paint() {}\nfunction render() { paint(); }\n\n'
                                                "globalThis.explorerView = { render };\n})();\n")
    assert json.loads((out / "_static/models/models.json").read_text()) == {"runtime": None, "networks": {}}


def test_the_view_of_the_book_is_no_module_any_more():
    script = web_explorers.view(web_explorers.EXPLORERS / "web")
    assert not re.search(r"^(import|export)\b", script, re.M) and script.count("globalThis.explorerView = { render };") == 1


@pytest.mark.parametrize("source", [
    "function render() {}\n", "export default { render };\nexport default { render };\n", "export default { render };\nlet after;\n",
    'import { x } from "./x.js";\nexport default { render };\n', "export const x = 1;\nexport default { render };\n"])
def test_a_view_that_is_no_script_is_refused(explorers, source):
    (explorers / "web" / "explorer.js").write_text(source)
    with pytest.raises(ExtensionError, match="must end with one 'export default { render };'"):
        web_explorers.view(explorers / "web")


# --- networks --------------------------------------------------------------------------------------------------------


def test_the_page_is_told_what_networks_there_are(published):
    target, networks, _, _ = published
    assert list(networks) == list(NAMES)
    for name, told in networks.items():
        raw = (target / told["file"]).read_bytes()
        assert told["file"] == f"{name}-{hashlib.sha256(raw).hexdigest()[:8]}.onnx" and told["bytes"] == len(raw)
    pixels, classifier = ({k: v for k, v in told.items() if k not in ("file", "bytes")} for told in networks.values())
    nothing = {"inputs": ["x"], "schedule": None, "predicts": None, "clip": None}
    assert pixels == nothing | {"kind": "pixels"} and classifier == nothing | {"kind": "classifier"}


def test_the_page_is_told_how_a_diffusion_network_is_used(published, tmp_path, monkeypatch):
    """With another network's file, to save time: tests/parity/test_onnx.py says that the file of a UNet computes what the UNet does."""
    config = UNetConfig(channels=8, groups=4, head_channels=8, classes=3)
    zoo.save("small", UNet(config), {"kind": "diffusion", "network": config.to_dict(), "schedule": {"name": "cosine", "T": 50}, "predicts": "v",
                                     "clip": 1.0}, tmp_path)
    raw, nets = (published[0] / published[1][NAMES[0]]["file"]).read_bytes(), []
    monkeypatch.setitem(web_explorers.KINDS, "diffusion", (web_explorers.KINDS["diffusion"][0], lambda net: nets.append(net) or raw))
    told = web_explorers.publish(("small",), tmp_path, tmp_path / "cache", tmp_path)["small"]
    assert {k: told[k] for k in ("schedule", "predicts", "clip", "kind")} == {"schedule": {"name": "cosine", "T": 50}, "predicts": "v", "clip": 1.0,
                                                                             "kind": "diffusion"}
    assert nets[0].config == config


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [1, 5])
def test_published_networks_compute_what_torch_computes(published, name, n):
    target, networks, weights, _ = published
    generator = torch.Generator().manual_seed(n)
    if name == "small_pixels":  # every level, and 4 for hidden
        net, x = zoo.load_pixels(name, weights), torch.randint(5, (n, 6, 6), generator=generator)
    else:
        net, x = zoo.load_classifier(name, weights), torch.randn(n, 1, 28, 28, generator=generator)
    session = onnxruntime.InferenceSession(target / networks[name]["file"], providers=["CPUExecutionProvider"])
    out, = session.run(["out"], {"x": x.numpy()})
    theirs = net(x)
    assert torch.allclose(torch.from_numpy(out), theirs, rtol=0, atol=1e-5 * float(theirs.abs().max().clamp(min=1)))


def test_published_files_hold_no_trace_of_this_machine(published):
    """The exporter's notes name folders, so that the same weights would give other files elsewhere."""
    target, networks, weights, _ = published
    for name, told in networks.items():
        raw, tensors = (target / told["file"]).read_bytes(), (weights / f"{name}.safetensors").stat().st_size
        assert b"stack_trace" not in raw and b".py" not in raw
        assert len(raw) < tensors + 50_000


def test_networks_are_exported_once(published, tmp_path, monkeypatch):
    _, networks, weights, cache = published
    exports = []
    monkeypatch.setattr(web_explorers, "KINDS", {kind: (load, lambda net, kind=kind: exports.append(kind) or b"") for kind, (load, _) in
                                                 web_explorers.KINDS.items()})
    assert web_explorers.publish(NAMES, tmp_path / "again", cache, weights) == networks and exports == []
    web_explorers.exported(NAMES[0], tmp_path / "other cache", weights)
    assert exports == ["pixels"]


def test_the_cache_s_key_changes_with_weights_versions_and_code(published, tmp_path, monkeypatch):
    weights = published[2]
    card, net = zoo.read(NAMES[0], weights)[0], zoo.load_pixels(NAMES[0], weights)
    keys = [web_explorers.key(card, net), web_explorers.key(card | {"sha256": "0"}, net)]
    with monkeypatch.context() as patch:
        patch.setattr(web_explorers, "version", lambda name: "9.9")
        keys.append(web_explorers.key(card, net))
    for replaced in ("pixels.py", "onnx_runtime.py"):
        with monkeypatch.context() as patch:
            (tmp_path / "other.py").write_text("")
            read = web_explorers.Path.read_bytes
            patch.setattr(web_explorers.Path, "read_bytes", lambda path, name=replaced: read(tmp_path / "other.py" if path.name == name else path))
            keys.append(web_explorers.key(card, net))
    assert len(set(keys)) == 5 and keys[0] == web_explorers.key(card, net)


def test_a_kind_that_no_page_can_run_is_refused(tmp_path):
    with pytest.raises(ExtensionError, match="'fashion_vae' is a vae: networks of pages are of kind diffusion, pixels, classifier"):
        web_explorers.exported("fashion_vae", tmp_path)


def test_every_network_of_the_book_can_be_published():
    assert {zoo.read(name)[0]["kind"] for name in web_explorers.NETWORKS} <= set(web_explorers.KINDS)


# --- runtime ---------------------------------------------------------------------------------------------------------


def test_the_runtime_is_downloaded_once(tmp_path):
    sha256 = tarball(tmp_path / "p.tgz")
    found = onnxruntime_web.package(tmp_path / "vendor", (tmp_path / "p.tgz").as_uri(), sha256)
    assert found == tmp_path / "vendor" / "p.tgz" and [p.name for p in found.parent.iterdir()] == ["p.tgz"]
    assert onnxruntime_web.package(tmp_path / "vendor", "file:///nowhere/p.tgz", sha256) == found


@pytest.mark.parametrize("there", [True, False])
def test_another_file_is_refused_with_both_sums(tmp_path, there):
    found = tarball(tmp_path / "p.tgz")
    folder = tmp_path if there else tmp_path / "vendor"
    with pytest.raises(ExtensionError, match=f"SHA-256 {found}, expected 00ff"):
        onnxruntime_web.package(folder, (tmp_path / "p.tgz").as_uri(), "00ff")
    assert not list(folder.glob("p.tgz*"))


def test_only_the_runtime_s_own_files_are_unpacked(tmp_path):
    tarball(tmp_path / "p.tgz", extra=["../evil", "/evil", "package/dist/../../evil", "package/dist/ort.all.mjs"])
    target = tmp_path / "site" / "vendor"
    onnxruntime_web.unpack(tmp_path / "p.tgz", target)
    assert {p.name for p in target.iterdir()} == {*onnxruntime_web.FILES, "LICENSE", "ThirdPartyNotices.txt"}
    assert {p.name for p in tmp_path.iterdir()} == {"p.tgz", "site"} and {p.name for p in (tmp_path / "site").iterdir()} == {"vendor"}
    assert (target / "ort.wasm.min.mjs").read_text() == "package/dist/ort.wasm.min.mjs"
    assert "Microsoft" in (target / "LICENSE").read_text("utf8")


def test_a_link_in_place_of_a_file_is_refused(tmp_path):
    with tarfile.open(tmp_path / "p.tgz", "w:gz") as archive:
        member = tarfile.TarInfo(f"package/dist/{onnxruntime_web.FILES[0]}")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(member)
    with pytest.raises(ExtensionError, match="no plain file"):
        onnxruntime_web.unpack(tmp_path / "p.tgz", tmp_path / "site")


def test_the_page_is_told_where_the_runtime_is(build, explorers, tmp_path, monkeypatch):  # noqa: F811
    tarball(tmp_path / "p.tgz")
    monkeypatch.setattr(onnxruntime_web, "package", lambda folder: tmp_path / "p.tgz")
    out, _ = build("text", "web_explorers", "onnxruntime_web")  # in whichever order
    runtime = json.loads((out / "_static/models/models.json").read_text())["runtime"]
    assert runtime == "vendor/onnxruntime-web-1.30.0/" and (out / "_static" / runtime / "ort.wasm.min.mjs").is_file()


def test_without_a_network_the_book_is_built_all_the_same(build, explorers, monkeypatch, capsys):  # noqa: F811
    def fail(address, partial):
        raise OSError("no route to host")

    monkeypatch.setattr(onnxruntime_web, "fetch", fail)
    out, warnings = build("text", "onnxruntime_web", "web_explorers")
    assert warnings == "" and not (out / "_static/vendor").exists()
    assert json.loads((out / "_static/models/models.json").read_text())["runtime"] is None
    said = capsys.readouterr().out
    assert said.count("\n") == 1 and "no route to host" in said and "pictures computed beforehand" in said


# --- content policy --------------------------------------------------------------------------------------------------

HTML = """<div>
<script>if (1 < 2 && "&amp;") { let here = "</p>"; }</script>
<script type="module">let m = 1;</script>
<script type="application/json">{"data": "<b onclick='no()'>"}</script>
<script src="x.js">let unused = 1;</script>
<button title=" onclick='title()' " onclick="say('a &quot;b&quot;'); return false">Say</button>
  <i>In</i> <p onmouseenter='enter(this)'>Enter</p>
<!-- <b onclick="comment()"> -->
</div>
"""


def sum_of(script):
    return "'sha256-" + b64encode(hashlib.sha256(script.encode()).digest()).decode() + "'"


def test_the_policy_allows_the_scripts_of_the_pages_and_no_others(build):  # noqa: F811
    out, _ = build(HTML, "content_policy")
    line = (out / "content-policy.txt").read_text()
    assert line.endswith("\n") and line.count("\n") == 1
    rules = dict(rule.split(" ", 1) for rule in line.strip().split("; "))
    assert rules["default-src"] == rules["object-src"] == "'none'" and rules["worker-src"] == rules["connect-src"] == "'self'"
    own, wasm, *sums = rules["script-src"].split(" ")
    assert (own, wasm) == ("'self'", "'wasm-unsafe-eval'")
    # All that stands in the pages without a type; by another way than the extension's.
    plain = [s for page in out.glob("*.html") for s in re.findall(r"<script>(.*?)</script>", page.read_text(), re.S)]
    assert 'if (1 < 2 && "&amp;") { let here = "</p>"; }' in plain
    assert sorted(sums) == sorted({sum_of(script) for script in [*plain, "let m = 1;"]})


def test_event_handlers_move_into_a_served_script(build):  # noqa: F811
    out, _ = build(HTML, "content_policy")
    page, script = (out / "index.html").read_text(), (out / "_static/handlers.js").read_text()
    assert """<button title=" onclick='title()' " data-handler-onclick="say('a &quot;b&quot;'); return false">""" in page
    assert "<p data-handler-onmouseenter='enter(this)'>" in page
    assert """{"data": "<b onclick='no()'>"}""" in page and '<!-- <b onclick="comment()"> -->' in page
    assert r"""["onclick", "say('a \"b\"'); return false", function (event) { say('a "b"'); return false }],""" in script
    assert '["onmouseenter", "enter(this)", function (event) { enter(this) }],' in script
    assert script.count("function (event)") == 2
    assert re.search(r'<script [^>]*src="_static/handlers.js', page)


def test_marked_pages_are_left_as_they_are():
    page = content_policy.Page(HTML)
    again = content_policy.Page(content_policy.marked(HTML, page.marks))
    assert len(page.marks) == 2 and again.marks == [] and again.handlers == page.handlers and again.scripts == page.scripts


def test_the_script_that_differs_on_every_page_is_left_out(build, monkeypatch):  # noqa: F811
    def add(app, pagename, *_):
        app.add_js_file(None, body=f"DOCUMENTATION_OPTIONS.pagename = '{pagename}';")
        app.add_js_file(None, body="let kept = 1;")

    theme = ModuleType("like_the_theme")
    theme.setup = lambda app: app.connect("html-page-context", add) and None
    monkeypatch.setitem(sys.modules, "like_the_theme", theme)
    out, _ = build("text", "content_policy", "like_the_theme")
    page = (out / "index.html").read_text()
    assert "pagename" not in page and page.count("let kept = 1;") == 1 and sum_of("let kept = 1;") in (out / "content-policy.txt").read_text()
