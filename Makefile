# The verbs of this project. `make demo` and `make test` work from a fresh clone with Python >= 3.11, git and make.
.DEFAULT_GOAL := help
.PHONY: help demo test check format docs bench results tables clean

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt \
  --config-settings editable_mode=compat --editable
# editable_mode=compat: without it setuptools installs an import hook, which neither pyright nor mypy can follow.
# One process per core does the parallel work; threads inside each would only compete (docs/design/decisions.md).
export OMP_NUM_THREADS := 1
export OMP_WAIT_POLICY := passive

help:
	@echo "make demo     train PD-MORL on Deep Sea Treasure and show its front"
	@echo "make test     run the test suite"
	@echo "make check    lint, format check, types, architecture, spelling"
	@echo "make format   format the code and fix what can be fixed"
	@echo "make docs     build the documentation into build/site, strictly and offline"
	@echo "make bench    run every benchmark once, briefly"
	@echo "make results  run the studies of configs/studies (STUDY=name: one; RUN=no: none), write docs/results"
	@echo "make tables   run the benchmarks of one page of docs/results again and write their output into it (PAGE=name)"
	@echo "make clean    remove caches and build folders (not .venv, not runs)"

demo: .venv/installed
	$(BIN)/morl train pd-morl deep-sea-treasure-v0 --overwrite

test: .venv/installed-dev
	$(BIN)/python -m pytest --quiet --numprocesses 2 --dist worksteal

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: .venv/installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open build/site/index.html"

bench: .venv/installed-dev
	@set -e; for benchmark in benchmarks/[!_]*.py; do echo "$$benchmark --quick"; $(BIN)/python $$benchmark --quick; done

results: .venv/installed-dev
	$(BIN)/python -m morl.studies.results $(STUDY) $(if $(filter no,$(RUN)),--no-run)

tables: .venv/installed-dev
	$(BIN)/python benchmarks/_page.py docs/results/$(PAGE).md

clean:
	rm -rf build dist *.egg-info .editable/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

# Python 3.11 comes first because the pins in constraints.txt are tested with it. Each candidate is run, not just found.
.venv/created:
	@if .venv/bin/python -m pip --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	for python in python3.11 python3.12 python3.13 python3 python none; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then break; fi; \
	done; \
	if [ $$python = none ]; then echo "error: Python 3.11 or newer is needed, and none was found on PATH" >&2; exit 1; fi; \
	echo "Creating .venv with $$($$python --version) ..."; \
	$$python -m venv .venv || { echo "error: $$python needs its venv module (Debian: python3-venv)" >&2; exit 1; }; \
	touch $@

.venv/installed: .venv/created pyproject.toml constraints.txt
	@echo "Installing the pinned dependencies into .venv (once, a few minutes; PyTorch is the largest) ..."
	@$(INSTALL) .
	@touch $@

.venv/installed-dev: .venv/installed
	@echo "Installing the pinned test and lint tools into .venv (once, about a minute) ..."
	@$(INSTALL) ".[dev,docs,onnx]"
	@touch $@
