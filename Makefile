# make demo    train a WGAN-GP on handwritten digits; pictures in runs/demo   (two to three minutes on 2 cores)
# make test    install and run every test
# make coverage   which lines of the package the tests run; TESTS="tests/ops" for some of them
# make lint    formatting, rules and types
# make bench   every claim of speed, measured; see make/bench.mk
# make studies    what the papers claim, looked at: pictures in runs/studies; see make/study.mk
# make docs    the documentation site, in build/site
# make wheel   the wheels and the sdist, in dist; see make/ship.mk
# make cuda-check    the CUDA kernels, compiled and read; see make/cuda.mk
#
# All of them begin with `make install`, which needs Python 3.10 or later with venv, and is quick
# the second time. Without a C++ compiler the library is installed in pure PyTorch.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The torch that everything here is tested with. On PyPI's Linux wheels this may bring CUDA along;
# set TORCH to a wheel or to other pip arguments to choose another build.
TORCH ?= torch==2.13.0

.DEFAULT_GOAL := help
.PHONY: help install demo test coverage lint clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile | sed '/^$$/q'

# Reinstalled only when something that the build reads has changed.
BUILD_INPUTS := pyproject.toml setup.py $(shell find csrc -type f)

install: $(VENV)/installed

$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1" "setuptools>=77" wheel ninja numpy
	$(BIN)/pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/installed: $(VENV)/torch $(BUILD_INPUTS)
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[examples,test]"
	touch $@

$(VENV)/lint: pyproject.toml | $(VENV)/installed
	$(BIN)/pip install --quiet --group lint
	touch $@

demo: install
	$(BIN)/python examples/train.py --name demo

# 50 MB, for the examples with Lightning and Accelerate; their tests are skipped without.
$(VENV)/integrations: pyproject.toml | $(VENV)/installed
	$(BIN)/pip install --quiet --group integrations
	touch $@

test: install $(VENV)/integrations
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

$(VENV)/coverage: pyproject.toml | $(VENV)/installed
	$(BIN)/pip install --quiet --group coverage
	touch $@

# In one process, so slower than `make test`. No percentage is asked for.
TESTS ?= tests wgan_fast
coverage: install $(VENV)/coverage
	rm -rf build/coverage && mkdir -p build/coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m coverage run -m pytest -q $(TESTS)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage html --quiet
	$(BIN)/python -m coverage report

lint: $(VENV)/lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/clang-format --dry-run --Werror $$(find csrc simt tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

include make/bench.mk
include make/study.mk
include make/cuda.mk
include make/ship.mk

clean:
	rm -rf build dist *.egg-info wgan_fast/*.so
