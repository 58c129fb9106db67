# make train: install what training needs, and train on the built-in data.
# make test: install the rest as well, and run the quick tests.
# make test-defaults: the tests at the shipped sizes, networks and recipes.
# PYTHON=python3.12 make train   chooses the interpreter; VENV=DIR the place of the environment.
PYTHON ?= python3
VENV ?= .venv
MADE := $(VENV)/.made
FOR_TRAINING := $(VENV)/.installed_for_training
FOR_TESTS := $(VENV)/.installed_for_tests

.PHONY: train test test-defaults lint clean

train: $(FOR_TRAINING)
	$(VENV)/bin/python run.py

test: $(FOR_TESTS)
	$(VENV)/bin/python -m pytest

test-defaults: $(FOR_TESTS)
	$(VENV)/bin/python -m pytest -m default_size

lint: $(FOR_TESTS)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info[:2] <= (3, 13) else "unet_exp needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is %d.%d: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	touch $(MADE)

$(FOR_TRAINING): pyproject.toml constraints.txt | $(MADE)
	$(VENV)/bin/python -m pip install -c constraints.txt -e .
	touch $(FOR_TRAINING)

$(FOR_TESTS): pyproject.toml constraints.txt | $(MADE)
	$(VENV)/bin/python -m pip install -c constraints.txt -e ".[dev]"
	touch $(FOR_TESTS)

clean:
	rm -rf $(VENV)
