# Two commands do all the set-up: `make draw` and `make test`. Each fills .venv, and again when pyproject.toml changed.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: draw test colab lint format screenshots animation clean

draw: .venv/.draw
	$(BIN)/digits draw

test: .venv/.test
	$(BIN)/python -m pytest

# All notebooks and the pad on Colab's own versions, in .venv-colab (3 GB, minutes); needs a Python 3.13.
colab: .venv/.test
	DIGITS_COLAB=1 $(BIN)/python -m pytest tests/colab tests/browser/test_classic_notebook.py

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The images in docs/: screenshots from the browser tests, and the README's animation.
screenshots: animation
	$(BIN)/python -m pytest tests/browser
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
