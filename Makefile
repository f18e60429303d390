# Two commands for a fresh machine: `make demo` and `make test`. Both set up everything they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

# `make test-slow` adds what takes minutes: faults, kills, two runs at once, ray.
.PHONY: demo test test-slow check quick site clean

demo: .venv/installed
	$(BIN)/mibench run --defense hold3 --attack secmi

test: .venv/installed check
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal --durations=30

test-slow: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m slow

check: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/mibench validate
	$(BIN)/mibench leaderboard --check
	$(BIN)/python docs/generate.py --check

quick: .venv/installed
	$(BIN)/mibench run leaderboards/quick/suite.toml --workers 2
	$(BIN)/mibench leaderboard quick

site: .venv/installed
	$(BIN)/mibench site

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("mibench needs Python 3.11 or newer; set PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf .venv
