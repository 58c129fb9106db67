# make train: install and train on the embedded data.  make test: install and run the quick tests.
# make test-defaults: the tests at the shipped sizes, networks and recipes.
# PYTHON=python3.12 make train   chooses the interpreter; VENV=DIR the place of the environment.
PYTHON ?= python3
VENV ?= .venv
INSTALLED := $(VENV)/.installed

.PHONY: train test test-defaults lint clean

train: $(INSTALLED)
	$(VENV)/bin/python run.py

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest

test-defaults: $(INSTALLED)
	$(VENV)/bin/python -m pytest -m default_size

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "unet_exp needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -c constraints.txt -e ".[dev]"
	touch $(INSTALLED)

clean:
	rm -rf $(VENV)
