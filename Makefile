# make setup | test | lint | demo; everything lives in .venv, which is made from nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := test
.PHONY: setup test lint format demo clean

setup: $(STAMP)

# The build tools come first, so that the build of the package itself uses the pinned ones. Byte code is written by what imports
# a module first: to compile all of them takes a minute, and most are never imported.
$(STAMP): pyproject.toml setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt setuptools wheel
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt --no-build-isolation -e '.[export,ssh,sweeps,tracking,test,lint]'
	touch $@

# One thread a process: two processes of two threads each would get in each other's way on two cores.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/vermin --target=3.6- --no-tips --violations nas/worker

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

demo: $(STAMP)
	PATH="$(CURDIR)/$(BIN):$$PATH" bash experiments/demo/run.sh

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
