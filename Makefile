# The two commands a newcomer needs are `make quickstart` and `make test`; both set up the environment first.
PYTHON ?= python3.11
BIN := .venv/bin
# One thread a process, and three of them for two cores, since some wait for servers; in the order of files: the long ones are early.
# Tests start many processes: what Python has compiled is kept, even where the user wants none of it.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

.PHONY: quickstart test torture coverage bench check check-static format docs clean

# Environment, simulated Space set, a sweep over networks and epoch counts, the table, the champion.
quickstart: .venv/installed
	$(BIN)/orchestrator quickstart

# Everything, the slow tests too.
test: .venv/installed-dev
	$(PYTEST)

# What becomes of bad input, as a table; over 20,000 valid files with something changed: ten minutes. Then each command
# is disturbed at a twentieth of the places where it writes or reads, another each day: ten minutes more.
torture: .venv/installed-dev
	$(BIN)/python -m tests.torture
	TORTURE_CASES=4500 $(PYTEST) tests/torture/test_fuzz.py --dist load
	EVERY_FAULT=20:$$(( $$(date +%s) / 86400 )) $(PYTEST) tests/cli/test_every_fault.py --dist load

# The same, half as long again, and the share of lines and branches that it reaches.
coverage: .venv/installed-dev
	$(PYTEST) --cov --cov-report term:skip-covered

# How fast it is, beside the loops one would write; with the machine and the commit. About 15 minutes on two idle cores.
bench: .venv/installed-dev
	$(BIN)/python benchmarks/startup.py
	GOMP_SPINCOUNT=10000 $(BIN)/python benchmarks/ladder.py
	$(BIN)/python benchmarks/training.py --batches 32 --images 128
	$(BIN)/python benchmarks/scoring.py --seconds 1
	$(BIN)/python benchmarks/growth.py --counts 1000 10000 100000 --plot build/growth.html

# The developer's loop: the same checks as CI, without the slow tests.
check: check-static
	$(PYTEST) -m "not slow" --quiet

# Style, types, layers, generated documents.
check-static: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/cog --check README.md

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Writes what is generated: the command line's help in the README.
docs: .venv/installed-dev
	$(BIN)/cog -r README.md

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv: a minute or two"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv: a minute or two"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch .venv/installed $@

clean:
	rm -rf .venv build *.egg-info .*_cache htmlcov .coverage
