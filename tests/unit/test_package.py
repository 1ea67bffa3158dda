"""Rules the package keeps: what the numerical core may import, docstrings, no device of its own, no hidden randomness."""

import ast
import importlib
import inspect
import sys
import tomllib
from pathlib import Path

import pytest

import course
import diffusion_core

PACKAGE, COURSE = (Path(package.__file__).parent for package in (diffusion_core, course))
CORE = ("schedules", "gaussian", "denoisers", "mixture", "guidance", "samplers", "editing", "unet", "dit", "vae", "likelihood", "noisy_classifier", "training",
        "objectives", "pixels", "patches", "config")
PUBLIC = CORE + ("checkpoint", "evaluation", "zoo", "plots", "data.fashion", "data.pictures", "data.streams", "interop.diffusers_layout",
                 "interop.guided_layout", "interop.hub", "interop.state", "interop.onnx_runtime")


def imports(source):
    """Absolute module names and relative ones (".schedules") that a source imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield from (f".{node.module}",) if node.module else (f".{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module.split(".")[0]


@pytest.mark.parametrize("name", [name for name in CORE if name != "training"])
def test_the_numerical_core_imports_torch_only(name):
    """Beside the standard library and each other. Training alone may import more."""
    found = set(imports((PACKAGE / f"{name}.py").read_text("utf8")))
    allowed = {"torch", *sys.stdlib_module_names, *(f".{module}" for module in CORE)}
    assert found - allowed == set()


def test_the_import_rule_sees_every_form():
    source = "import numpy.linalg\nfrom scipy import x\nfrom .zoo import y\nfrom . import plots\ndef f():\n    import tqdm"
    assert list(imports(source)) == ["numpy", "scipy", ".zoo", ".plots", "tqdm"]


def needed(module="__init__"):
    """Files of `course` that `from course import check` may load: the teacher's part of it is no part of a learner's installation."""
    files, waiting = {*(COURSE / "tasks").glob("*.py")}, [COURSE / f"{module}.py"]
    while waiting:
        path = waiting.pop()
        if path.exists() and path not in files:
            files.add(path)
            waiting += [COURSE / f"{name[1:]}.py" for name in imports(path.read_text("utf8")) if name.startswith(".")]
    return files


def test_the_project_depends_on_what_its_packages_import():
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf8"))["project"]
    stated = {name.lower() for names in (project["dependencies"], *project["optional-dependencies"].values()) for name in names}
    files = {*PACKAGE.rglob("*.py"), *needed()}
    assert COURSE / "exercises.py" in files
    found = {name for path in files for name in imports(path.read_text("utf8")) if not name.startswith(".")} - {*sys.stdlib_module_names}
    # matplotlib itself installs the two that have other names here.
    brought = {{"PIL": "pillow", "contourpy": "matplotlib", "cycler": "matplotlib"}.get(name, name) for name in found} - {PACKAGE.name, COURSE.name}
    assert brought - stated == set() and {"nbformat", "torch", "pillow"} <= brought


@pytest.mark.parametrize("name", CORE)
def test_the_core_names_no_device(name):
    """No "cuda" or "mps" in it; the CPU is named only where a table must be there."""
    strings = {node.value for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text("utf8"))) if isinstance(node, ast.Constant)}
    assert not strings & {"cuda", "mps", "cuda:0"}


def random_calls(source):
    """Calls of torch's random functions without a generator."""
    drawing = {"randn", "rand", "randint", "randperm", "multinomial", "randn_like", "rand_like", "normal", "bernoulli"}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in drawing:
            if not any(keyword.arg == "generator" for keyword in node.keywords):
                yield f"line {node.lineno}: {node.func.attr}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_draw_takes_a_generator(path):
    assert list(random_calls(path.read_text("utf8"))) == []


def test_the_rule_on_draws_sees_one():
    assert list(random_calls("torch.randn(3)\ntorch.rand(2, generator=g)")) == ["line 1: randn"]


def public_things(name):
    module = importlib.import_module(f"diffusion_core.{name}")
    yield module.__name__, module
    for key, value in vars(module).items():
        if key.startswith("_") or not (inspect.isclass(value) or inspect.isfunction(value)) or value.__module__ != module.__name__:
            continue
        yield f"{name}.{key}", value


@pytest.mark.parametrize("name", PUBLIC)
def test_public_things_have_docstrings_and_type_hints(name):
    things = list(public_things(name))
    assert [label for label, thing in things if not (thing.__doc__ or "").strip()] == []
    functions = [(label, thing) for label, thing in things if inspect.isfunction(thing)]
    unhinted = [label for label, f in functions for p in inspect.signature(f).parameters.values() if p.annotation is p.empty]
    assert unhinted == [] and [label for label, f in functions if inspect.signature(f).return_annotation is inspect.Signature.empty] == []


def test_everything_offered_exists():
    assert [name for name in diffusion_core.__all__ if not hasattr(diffusion_core, name)] == []
    assert sorted(diffusion_core.__all__, key=str.lower) == sorted(set(diffusion_core.__all__), key=str.lower)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "heun", "dpmpp_2m", "adams"])
def test_a_sampler_is_its_update_and_nothing_else(name):
    lines, _ = inspect.getsourcelines(inspect.unwrap(getattr(diffusion_core, name)))
    tree = ast.parse("".join(lines)).body[0]
    assert tree.end_lineno - tree.body[0].end_lineno <= 25  # without signature and docstring
