"""The guidance notebook in JupyterLab, as a learner runs it: all cells, then the slider; the kernel draws what Python computes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import pytest
from books_explorers import EXPLORERS
from built import HTML
from engines import assert_same, shown

NOTEBOOK = HTML.parents[1] / "chapters" / "03_algorithms" / "03_guidance.ipynb"
# Every cell stays in the page, so that the explorer is found wherever the window is scrolled to.
SETTINGS = {"notebook-extension/tracker": {"windowingMode": "none"}}
CONFIGURATION = HTML.parents[1] / "course" / "assets" / "jupyterlab"  # as `make lab` has it: no menus for teachers, no news


@pytest.fixture
def lab(tmp_path):
    """Address of a JupyterLab that serves a folder with the notebook alone."""
    (tmp_path / "work").mkdir()
    shutil.copy(NOTEBOOK, tmp_path / "work")
    for name, settings in SETTINGS.items():
        file = tmp_path / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folders = {"JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython"}
    environment = os.environ | {name: str(tmp_path / folder) for name, folder in folders.items()} | {"JUPYTER_CONFIG_PATH": str(CONFIGURATION)}
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0", "--IdentityProvider.token=",
               "--expose-app-in-browser", f"--notebook-dir={tmp_path / 'work'}"]
    with open(tmp_path / "log", "w") as log, subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server:
        try:
            wait_for(f"http://127.0.0.1:{port}/api/status", tmp_path / "log")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def wait_for(address, log, seconds=60):
    for _ in range(10 * seconds):
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"JupyterLab did not answer in {seconds} s:\n{log.read_text()[-2000:]}")


def test_the_guidance_notebook_runs_and_its_slider_draws(lab, browser):
    explorer = EXPLORERS["strength"]()
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(180_000)
    page.goto(f"{lab}/lab/tree/{NOTEBOOK.name}")
    page.wait_for_function("() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status == 'idle'")
    menus = page.locator(".lm-MenuBar-itemLabel").all_text_contents()
    assert "Kernel" in menus and "Nbgrader" not in menus and page.get_by_text("Jupyter news").count() == 0
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    figure = page.wait_for_selector(".explorer:has(canvas:not([hidden]))")
    host = figure.evaluate_handle("figure => figure.parentElement").as_element()
    assert_same(shown(page, host), explorer.final())
    slider = host.query_selector("input[type=range]")
    slider.focus()
    before = host.evaluate("host => host.querySelector('canvas').toDataURL()")
    page.keyboard.press("ArrowRight")
    assert_same(shown(page, host), explorer.final(w=1.5))
    assert host.evaluate("host => host.querySelector('canvas').toDataURL()") != before
    assert page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    page.close()
