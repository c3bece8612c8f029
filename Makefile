# The first two commands are `make demo` and `make test`. Each target installs what it needs into .venv, once: a second run
# installs nothing. Paths are relative and programs run as `.venv/bin/python -m ...`, so that a folder may have a space in
# its name (the first line of an installed script may not).

PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip --disable-pip-version-check install --quiet -c constraints.txt
# PyTorch is exactly this one, in every command that could install it.
TORCH := torch==2.13.0
JOBS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

# A copied or moved folder keeps an environment that points to the old place: then everything is installed again.
MOVED := $(shell test "$$(cat .venv/home 2>/dev/null)" = "$$(pwd)" || echo moved)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types deck bench bench-regression bench-regression-full bench-nn bench-notes \
	bench-notes-maths bench-gpu changelog clean FORCE

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-28s %s\n", $$1, $$2 }'

demo: .venv/installed-demo  ## train a softmax classifier on real data and show what it did
	$(PY) -m softmax fit digits

test: .venv/installed-test  ## run all tests
	$(PY) -m pytest -n $(JOBS) $(PYTEST_ARGS)

lint: .venv/installed-lint  ## check style (ruff)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: .venv/installed-types  ## check types (mypy --strict on src)
	$(PY) -m mypy --strict src

deck: .venv/installed-notes  ## check the notes in docs/vault and write their cards to softmax.apkg, which Anki imports
	$(PY) -m softmax notes check docs/vault
	$(PY) -m softmax notes export docs/vault -o softmax.apkg

bench: .venv/installed-bench  ## check results, then time them beside other libraries; write benchmarks/results
	$(PY) -m benchmarks.run

bench-regression: .venv/installed-bench  ## the classifiers beside seven other tools, at the same verified gap; half an hour
	$(PY) -m benchmarks.regression.environments
	$(PY) -m benchmarks.regression.run $(BENCH_ARGS)

bench-regression-full: .venv/installed-bench  ## the same without limits of time, and with the settings not known yet; hours
	$(PY) -m benchmarks.regression.environments
	$(PY) -m benchmarks.regression.run --full

bench-notes: .venv/installed-notes  ## check, plan and sync a vault of 10,000 notes with 20,000 cards; write benchmarks/NOTES.md
	$(PY) -m benchmarks.notes.run

bench-notes-maths: .venv/installed-test  ## change every formula of the suite a little: how many are noticed; write benchmarks/results
	$(PY) -m benchmarks.notes.mutation

bench-nn: .venv/installed-bench  ## the output layer beside PyTorch's own: time, memory and error; a quarter of an hour
	$(PY) -m benchmarks.nn.run

bench-gpu:  ## check results, then time the GPU kernels; needs an NVIDIA GPU
	@command -v nvidia-smi > /dev/null || \
		{ echo "The GPU benchmark cannot run: no NVIDIA driver here (no nvidia-smi). For the CPU: make bench" >&2; exit 1; }
	@$(MAKE) --no-print-directory .venv/installed-bench
	$(PY) -m benchmarks.gpu

changelog: .venv/installed-lint  ## show what the fragments in changelog.d will become
	$(PY) -m towncrier build --draft

clean:  ## remove the environment, caches and builds
	rm -rf .venv .venv-rivals .cache-bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/home: $(if $(MOVED),FORCE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; got $$($(PYTHON) --version). Say which: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@pwd > .venv/home

.venv/installed-demo: .venv/home pyproject.toml constraints.txt
	$(PIP) -e '.[cli]'
	@touch $@

.venv/installed-test: .venv/home pyproject.toml constraints.txt
	$(PIP) $(TORCH) -e '.[test]'
	@touch $@

.venv/installed-bench: .venv/home pyproject.toml constraints.txt
	$(PIP) $(TORCH) -e '.[bench]'
	@touch $@

.venv/installed-notes: .venv/home pyproject.toml constraints.txt
	$(PIP) -e '.[anki,cli,notes]'
	@touch $@

.venv/installed-lint: .venv/home pyproject.toml constraints.txt
	$(PIP) ruff towncrier
	@touch $@

.venv/installed-types: .venv/installed-test
	$(PIP) $(TORCH) mypy
	@touch $@
