# One command each, and each does its own set-up. `make` alone lists them.

PORT   ?= 8000
CLASS  ?= class# a teacher's folder for one class
TORCH  ?=# cpu or cuda; empty keeps what is installed, and takes cpu the first time
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13; do $$p -c pass 2>/dev/null && echo $$p && break; done)
PY     := .venv/bin/python
SUDO   := $(if $(filter 0,$(shell id -u)),,sudo)
# Each after those it starts from or learns from.
RECIPES := fashion_classifier fashion fashion_weak fashion_noisy_classifier fashion_learned fashion_guided fashion_few4 \
           fashion_vae fashion_unet_short fashion_dit pixels_raster pixels_any pixels_coarse pixels_patch
# What is measured, and trained only to be measured.
TABLES  := fashion_tables fashion_fast fashion_likelihood fashion_editing fashion_practice scaling copying pixels_tables measured_page ledger
CHROME := $(firstword $(shell command -v chromium || command -v google-chrome) $(wildcard /Applications/Google*Chrome.app))

.DEFAULT_GOAL := help
.PHONY: help setup bench-setup chrome bubblewrap book read lab course slides epub pdf colab test bench weights outputs

help:            ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

book: setup      ## run the notebooks that changed, two at a time, and build the book into _build/html
	@echo "book: running the notebooks that changed, then building _build/html"
	@$(PY) book/notebooks.py
	@rm -rf _build/html
	@.venv/bin/jupyter-book build -W -n --keep-going --all -q .

read: book       ## build the book and serve it on http://localhost:8000 (other port: PORT=8001)
	@echo "read: the book is at http://localhost:$(PORT), Ctrl-C stops"
	@$(PY) -m http.server --bind localhost --directory _build/html $(PORT)

# JupyterLab without the menus of nbgrader, which are for teachers (in the folder of a class), and without news.
lab: setup       ## open your copies of the notebooks in JupyterLab: stubs to fill in, explorers that compute live
	@echo "lab: opening your copies of the notebooks, below lab/, in JupyterLab, Ctrl-C stops"
	@$(PY) -m course.lab
	@JUPYTER_CONFIG_PATH=course/assets/jupyterlab .venv/bin/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/lab

course: setup bubblewrap  ## release the problem sets into class/, or grade one: SET=ddim FROM=submissions.zip (READ=1: after essays were read)
	@$(PY) -m course --class "$(CLASS)" $(if $(FROM),grade $(SET) "$(FROM)",$(if $(READ),finish $(SET),release $(SET)))

slides: setup    ## write lecture slides of every notebook into _build/slides
	@echo "slides: running the notebooks that changed, then writing _build/slides/index.html"
	@$(PY) book/notebooks.py
	@$(PY) -m course.slides

epub: setup chrome      ## build the book as an EPUB, _build/epub/book.epub
	@echo "epub: running the notebooks that changed, then writing _build/epub/book.epub"
	@$(PY) book/notebooks.py
	@$(PY) book/editions.py epub

pdf: setup chrome       ## build the book as a PDF, _build/pdf/book.pdf
	@echo "pdf: running the notebooks that changed, then printing _build/pdf/book.pdf"
	@$(PY) book/notebooks.py
	@$(PY) book/editions.py pdf

colab: setup     ## write the notebooks that Colab opens into _build/colab (PUSH=1: publish them too)
	@$(PY) book/publish.py $(if $(PUSH),--push)

test: setup chrome bubblewrap  ## build the book and run every test, saying what each part took
	@echo "test: building the book, then running every test"
	@$(PY) tests/run.py

bench: bench-setup book chrome bubblewrap  ## compare our speed with other packages, in an environment of its own; time a slider of the page, and a class
	@echo "bench: timing us, diffusers and lucidrains in turn, into book/benchmarks/results.md"
	@PYTHONPATH=. .venv-bench/bin/python tests/bench/run.py
	@$(PY) tests/bench/page.py
	@$(PY) tests/bench/classroom.py

weights: setup   ## train again what the package ships (long; goes on where it stopped)
	@echo "weights: training each recipe in recipes/"
	@for recipe in $(RECIPES); do $(PY) -m diffusion_core.train recipes/$$recipe.toml || exit 1; done
	@for table in $(TABLES); do $(PY) recipes/$$table.py || exit 1; done

outputs: setup   ## run the notebooks afresh and store their text outputs in them
	@echo "outputs: running every notebook and storing what it prints"
	@$(PY) book/notebooks.py --store

# --- set-up ----------------------------------------------------------------------------------------------------------
# An environment is up to date when it holds the stamp of the pins, and of the build of torch, it was installed from.

pins  = $(shell cat $(wildcard $(2)) | cksum | tr ' ' '-')
stamp = $(or $(if $(TORCH),,$(firstword $(wildcard $(1)/.pins-$(pins)-*))),$(1)/.pins-$(pins)-$(or $(TORCH),cpu))

setup:       $(call stamp,.venv,requirements.txt)
bench-setup: $(call stamp,.venv-bench,requirements.txt tests/bench/requirements*.txt)

# install ENVIRONMENT, FILE. A CPU build of torch comes from pip where pip is configured with one, else uv finds it.
# Plain pip would bring the CUDA build on Linux, so it does that for TORCH=cuda alone.
define install
	@echo "set-up: installing pinned packages into $(1), once, which takes some minutes"
	@test -n "$(PYTHON)" || { echo "needs Python 3.11, 3.12 or 3.13 on the PATH, or PYTHON=..."; exit 1; }
	@test -x $(1)/bin/pip || $(PYTHON) -m venv $(1) || \
	  { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv && $(PYTHON) -m venv --clear $(1); }
	@if test "$(TORCH)" = cuda || \
	    $(1)/bin/pip install -q --dry-run --no-index --no-deps $(shell grep '^torch==' requirements.txt) 2>/dev/null; \
	  then $(1)/bin/pip install -q -r $(2); \
	  else $(1)/bin/pip install -q $(shell grep '^uv==' requirements.txt) && \
	    $(1)/bin/uv pip install -q --python $(1)/bin/python --torch-backend=cpu -r $(2); fi
endef

.venv/.pins-%:
	$(call install,.venv,requirements.txt)
	@.venv/bin/pip install -q --no-deps --no-build-isolation -e .
	@.venv/bin/pip check
	@rm -f .venv/.pins-* && touch $@

.venv-bench/.pins-%:
	$(call install,.venv-bench,tests/bench/requirements.txt)
	@.venv-bench/bin/pip install -q --no-deps -r tests/bench/requirements-no-deps.txt
	@rm -f .venv-bench/.pins-* && touch $@

chrome:
ifeq ($(CHROME),)
	@echo "set-up: installing a browser for the browser tests"
	@if command -v apt-get >/dev/null; then \
	    $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq chromium fonts-liberation; \
	  elif command -v brew >/dev/null; then brew install --cask google-chrome; \
	  else echo "needs Chromium or Google Chrome"; exit 1; fi
endif

# Without it, or where it cannot be had, submissions run under limits alone, and grading says so.
bubblewrap:
	@if ! command -v bwrap >/dev/null && command -v apt-get >/dev/null; then \
	    echo "set-up: installing bubblewrap, the sandbox that submissions run in"; \
	    $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq bubblewrap; fi
