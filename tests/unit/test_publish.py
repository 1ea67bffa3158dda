"""What the site says of where it is published, the notebooks that Colab opens, and the files that publishing services read."""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

import launch
import notebooks
import publish
from course.exercises import without_solutions
from test_package import imports

ROOT = launch.ROOT
PACKAGES = ("diffusion_core", "course")
REPOSITORY, COMMIT = "https://github.com/owner/name", "0123456789abcdef0123456789abcdef01234567"
ON = {"address": "https://owner.github.io/name", "repository": REPOSITORY, "binder": True, "colab": True}
NOTEBOOK = nbformat.v4.new_notebook(
    metadata={"kernelspec": {"name": "python3", "display_name": "Python"}, "language_info": {"name": "python"}},
    cells=[nbformat.v4.new_markdown_cell("# A notebook"), nbformat.v4.new_code_cell("1 + 1")],
)


# Settings


def stated(tmp_path, table: str) -> dict:
    (tmp_path / "pyproject.toml").write_text(f"[project]\nname = 'x'\n{table}")
    return launch.settings(tmp_path)


def test_everything_is_off_until_it_is_set(tmp_path):
    assert stated(tmp_path, "") == stated(tmp_path, '[tool.book]\naddress = ""') == launch.OFF
    assert not any(launch.OFF.values())


def test_the_project_states_every_setting():
    assert set(launch.project()["tool"]["book"]) == set(launch.OFF)
    launch.settings()


@pytest.mark.parametrize("line, complaint", [
    ('adress = ""', "no setting 'adress': it takes address"),
    ('colab = "yes"', "colab must be true or false, got 'yes'"),
    ("address = 1", "address must be a string, got 1"),
    ('address = "owner.github.io"', "address must be empty or like"),
    ('repository = "https://gitlab.com/a/b"', "repository must be empty or like"),
    ('repository = "https://github.com/a/b.git"', "repository must be empty or like"),
    ('repository = "https://github.com/a"', "repository must be empty or like"),
    ("binder = true", "set repository"),
])
def test_a_wrong_setting_is_named(tmp_path, line, complaint):
    with pytest.raises(ValueError, match=complaint):
        stated(tmp_path, f"[tool.book]\n{line}")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Function of some settings: builds a book of a page and a notebook with the book's theme; returns {name: parsed page}."""

    def build(**settings) -> dict[str, BeautifulSoup]:
        monkeypatch.setattr(launch, "settings", lambda: launch.OFF | settings)
        source, out, warnings = tmp_path / "source", tmp_path / "out", io.StringIO()
        (source / "chapters").mkdir(parents=True)
        (source / "index.md").write_text("# A page\n\n```{toctree}\nchapters/one\n```\n")
        nbformat.write(NOTEBOOK, source / "chapters" / "one.ipynb")
        config = {"extensions": ["myst_nb", "launch"], "nb_execution_mode": "off", "html_theme": "sphinx_book_theme"}
        with patch_docutils(), docutils_namespace():
            Sphinx(source, None, out, tmp_path / "doctrees", "html", config, status=None, warning=warnings).build()
        assert warnings.getvalue() == ""
        return {name: BeautifulSoup((out / f"{name}.html").read_text("utf8"), "html.parser") for name in ("index", "chapters/one")}

    return build


def buttons(page: BeautifulSoup) -> set[str]:
    return {link["href"] for link in page.select(".header-article-items a[href]")}


def test_a_site_without_settings_names_no_host(site):
    for page in site().values():
        addresses = {tag.get("href") or tag.get("src") for tag in page.select("[href], [src]")}
        assert len(addresses) > 5
        assert not [address for address in addresses if re.match(r"(https?:)?//", address)]
        assert not page.select("link[rel=canonical], .dropdown-launch-buttons, .dropdown-source-buttons")


def test_every_button_leads_to_its_place(site):
    pages = site(**ON)
    assert pages["chapters/one"].select_one("link[rel=canonical]")["href"] == "https://owner.github.io/name/chapters/one.html"
    found = buttons(pages["chapters/one"])
    assert {
        REPOSITORY,
        f"{REPOSITORY}/edit/main/chapters/one.ipynb",
        "https://mybinder.org/v2/gh/owner/name/main?urlpath=lab/tree/chapters/one.ipynb",
        "https://colab.research.google.com/github/owner/name/blob/colab/chapters/one.ipynb",
    } <= found
    assert any(address.startswith(f"{REPOSITORY}/issues/new?") for address in found)
    assert not [address for address in buttons(pages["index"]) if "colab" in address or "binder" in address]


@pytest.mark.parametrize("name", ["binder", "colab"])
def test_a_launch_button_is_one_setting(site, name):
    found = buttons(site(**ON | {name: False})["chapters/one"])
    hosts = {"binder": "mybinder.org", "colab": "colab.research.google.com"}
    assert {button for button, host in hosts.items() if any(host in address for address in found)} == set(hosts) - {name}


def test_the_book_loads_the_extension():
    assert yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["local_extensions"]["launch"] == "book/ext"


# Copies for Colab


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_a_copy_is_its_source_with_stubs_and_one_cell(path):
    source = nbformat.read(path, 4)
    before, stubs = nbformat.writes(source), nbformat.writes(without_solutions(source))
    copy = publish.with_install(source, "diffusion-core", REPOSITORY, COMMIT)
    assert nbformat.writes(source) == before != stubs
    nbformat.validate(copy)
    first = next(cell for cell in copy.cells if cell.cell_type == "code")
    assert first.source == f'%pip install -q "diffusion-core @ git+{REPOSITORY}@{COMMIT}"'
    copy.cells.remove(first)
    assert nbformat.writes(copy) == stubs


@pytest.mark.parametrize("path", notebooks.notebooks(), ids=lambda path: path.stem)
def test_a_notebook_imports_nothing_that_the_package_does_not_bring(path):
    code = "\n".join(cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code")
    brought = {name.lower() for name in launch.project()["project"]["dependencies"]} | {"diffusion_core", "course", *sys.stdlib_module_names}
    assert set(imports(re.sub(r"^[%!].*$", "", code, flags=re.M))) - brought == set()


def git(folder: Path, *arguments: str) -> str:
    return publish.git(folder, "-c", "user.name=x", "-c", "user.email=x", *arguments)


@pytest.fixture
def repository(tmp_path):
    """A repository with the packages and a notebook, which has every setting on."""
    root = tmp_path / "root"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, root)
    table = f'[tool.book]\nrepository = "{REPOSITORY}"\ncolab = true\n'
    (root / "pyproject.toml").write_text(re.sub(r"^\[tool\.book\](\n\w.*)*\n", table, (ROOT / "pyproject.toml").read_text(), flags=re.M))
    (root / "chapters" / "01").mkdir(parents=True)
    nbformat.write(NOTEBOOK, root / "chapters" / "01" / "one.ipynb")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "all")
    return root


def test_the_install_cell_installs_the_packages_with_weights_and_data(repository, tmp_path):
    [copy] = publish.write(tmp_path / "copies", repository)
    [cell] = [cell for cell in nbformat.read(copy, 4).cells if cell.id == "install"]
    package = re.fullmatch(r'%pip install -q "(.*)"', cell.source)[1]
    assert package.endswith("@" + git(repository, "rev-parse", "HEAD"))
    # The address of the repository in the cell is answered by the one on this disk.
    instead = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": REPOSITORY}
    offline = ["--no-deps", "--no-index", "--no-build-isolation", "--target", str(tmp_path / "target")]
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", *offline, package], env=os.environ | instead, check=True)
    held, installed = (
        {path.relative_to(root) for package in PACKAGES for path in (root / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        for root in (repository, tmp_path / "target")
    )
    assert len(held) > 50 and {path.parts[0] for path in held} == set(PACKAGES) and held == installed
    # Without the chapters, answers are checked all the same, and the book's are said to be elsewhere.
    script = 'from course import check, reveal; ou_step = None; check("origins-step"); reveal("origins-step")'
    path = os.environ | {"PYTHONPATH": str(tmp_path / "target")}
    printed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=path, check=True, capture_output=True, text=True).stdout
    assert "origins-step: 0 of" in printed and "this installation has none of them" in printed


def test_the_copies_are_pushed_as_a_branch_of_their_own(repository, tmp_path):
    subprocess.run(["git", "init", "--quiet", "--bare", tmp_path / "origin.git"], check=True)
    git(repository, "remote", "add", "origin", str(tmp_path / "origin.git"))
    for _ in range(2):  # the second takes the place of the first
        git(repository, "commit", "--quiet", "--allow-empty", "-m", "more")
        publish.write(tmp_path / "copies", repository)
        publish.push(tmp_path / "copies", repository)
    origin = tmp_path / "origin.git"
    assert git(origin, "branch", "--format=%(refname:short)") == launch.COPIES
    assert git(origin, "ls-tree", "-r", "--name-only", launch.COPIES) == "chapters/01/one.ipynb"
    assert git(origin, "rev-list", "--count", launch.COPIES) == "1"
    assert git(origin, "show", f"{launch.COPIES}:chapters/01/one.ipynb") == (tmp_path / "copies/chapters/01/one.ipynb").read_text().strip()
    assert git(repository, "status", "--porcelain") == "" and git(repository, "branch", "--show-current") == "main"


# Files of services

WORKFLOW = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
STEPS = [step for job in WORKFLOW["jobs"].values() for step in job["steps"]]


def test_the_workflow_runs_targets_that_exist():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.M))
    commands = [step["run"] for step in STEPS if "run" in step]
    assert len(commands) == 2
    for command in commands:
        assert re.fullmatch(r"make (\w+)( [A-Z]+=\w+)*", command)[1] in targets


def test_the_workflow_may_do_what_it_must_and_no_more():
    """A pull request runs code that nobody has read: it may read, and its checkout keeps no credentials."""
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert {name: job["permissions"] for name, job in WORKFLOW["jobs"].items() if "permissions" in job} == {
        "deploy": {"pages": "write", "id-token": "write"}, "colab": {"contents": "write"}}
    for name in ("deploy", "colab"):
        assert WORKFLOW["jobs"][name]["if"] == "github.ref == 'refs/heads/main' && github.event_name != 'pull_request'"
        assert WORKFLOW["jobs"][name]["needs"] == "test"
    assert WORKFLOW["jobs"]["test"]["steps"][0]["with"] == {"persist-credentials": False}
    assert WORKFLOW[True] == {"push": {"branches": ["main"]}, "pull_request": None, "workflow_dispatch": None}  # True: "on", in YAML 1.1


def test_the_workflow_pins_what_it_uses():
    assert all(re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"]) for step in STEPS if "uses" in step)


def test_binder_installs_the_books_pins_with_a_torch_for_the_cpu():
    folder = ROOT / "binder"
    options = [line.split() for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    assert ["--extra-index-url", "https://download.pytorch.org/whl/cpu"] in options
    [included] = [option[1] for option in options if option[0] == "-r"]
    assert (folder / included).resolve() == ROOT / "requirements.txt"
    assert re.search(r"^torch==[\d.]+$", (ROOT / "requirements.txt").read_text(), re.M)  # no +cu or +cpu in the pin: the index decides
    assert (folder / "runtime.txt").read_text().strip() == "python-3.11"
    assert os.access(folder / "postBuild", os.X_OK)
    assert "python -m course.lab" in (folder / "postBuild").read_text()  # writes what the button opens
