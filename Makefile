# Two commands do all the set-up: `make draw` and `make test`. Each fills .venv, and again when pyproject.toml changed.

PYTHON ?= python3
WORKERS ?= 2
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest
# A file, and so a notebook, stays with one worker; the files begin in the order in which they are collected.
PARALLEL := --numprocesses=$(WORKERS) --dist=loadfile --no-loadscope-reorder

.PHONY: draw test test-all test-slow colab lint format screenshots animation clean

draw: .venv/.draw
	$(BIN)/digits draw

# Every kind of proof once, in minutes. What measures time or load runs after the rest, alone.
test: .venv/.test
	$(PYTEST) $(PARALLEL) -m "not slow and not serial"
	$(PYTEST) -m "not slow and serial"

# Everything.
test-all: test test-slow

# What `make test-all` adds, Colab's own versions among it: in .venv-colab (3 GB), where there is a Python 3.13.
test-slow: .venv/.test
	$(PYTEST) $(PARALLEL) -m "slow and not serial"
	DIGITS_COLAB=1 $(PYTEST) -m "slow and serial"

colab: .venv/.test
	DIGITS_COLAB=1 $(PYTEST) -m "" tests/colab tests/browser/test_classic_notebook.py

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The images in docs/: screenshots from the browser tests, and the README's animation.
screenshots: animation
	$(PYTEST) -m "" tests/browser
	cp test-artifacts/page-phone-digit.png docs/page-phone.png
	cp test-artifacts/page-desktop-scribble.png docs/page-scribble.png
	cp test-artifacts/jupyterlab-dark.png docs/jupyterlab-dark.png

animation: .venv/.test
	$(BIN)/python -m docs.make_animation

clean:
	rm -rf .venv .venv-colab build dist test-artifacts

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv

.venv/.draw: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/.test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@ .venv/.draw
