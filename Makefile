# Targets for people: setup, demo, test, check, bench. Each does its own set-up.
# Needed: Python >= 3.11 with venv, make and a shell. Another interpreter: make PYTHON=python3.13 test
# Arguments reach the programs: make test ARGS="-k arena -x"   make demo ARGS=--help

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
ARGS =

# Processes that share the tests, file by file: one more than two cores, since many tests wait. They begin with the first
# files, the faults, which have few tests and take longest: pytest-xdist's own order, most tests first, would leave one of
# them with those at the end. For a debugger: make test TEST_WORKERS=0 ARGS=--pdb
TEST_WORKERS = 3

# Every package is pinned with its hashes, and as a wheel: no compiler, nothing that was not tested.
PIP = -m pip install --quiet --disable-pip-version-check
HASHED = --require-hashes --only-binary :all:
INSTALL = $(BIN)/python $(PIP)
PINNED = $(INSTALL) $(HASHED)

.PHONY: setup demo test check bench chaos container node lock

setup: $(VENV)/.setup

$(VENV)/.setup: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(PINNED) -r requirements/dev.txt
	$(INSTALL) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "arraymill needs Python 3.11 or newer, '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name one: make PYTHON=/path/to/python3.13 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV) || { \
	  rm -rf $(VENV); \
	  echo "'$(PYTHON)' cannot make a virtual environment; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

demo: setup
	@$(BIN)/arraymill demo $(ARGS)

test: setup
	$(BIN)/python -m pytest -n $(TEST_WORKERS) --dist loadfile --no-loadscope-reorder -m "not container and not node and not timing" $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pyright --warnings
	$(BIN)/lint-imports
	$(BIN)/python tools/generate.py --check
	$(BIN)/python tools/docs.py --check

# The peers of the benchmarks have environments of their own: what the tests run in stays what requirements/dev.txt says.
$(VENV)/peers/.done: requirements/bench.txt $(VENV)/.setup
	$(BIN)/python -m venv --clear $(VENV)/peers
	$(VENV)/peers/bin/python $(PIP) $(HASHED) -r requirements/bench.txt
	@touch $@

# PyTriton needs NumPy 1, which has no wheels for Python 3.13; where it cannot be had its figures are left out.
$(VENV)/triton/.done: requirements/bench-triton.txt $(VENV)/.setup
	$(BIN)/python -m venv --clear $(VENV)/triton
	@$(VENV)/triton/bin/python $(PIP) $(HASHED) -r requirements/bench-triton.txt || \
	  echo "PyTriton cannot be installed here: its figures are left out" >&2
	@touch $@

bench: $(VENV)/peers/.done $(VENV)/triton/.done
	cd benchmarks && ../$(BIN)/python -m suite $(ARGS)

# The table of faults with its figures: an hour and a half for all rows; make chaos ARGS="--short", ARGS="deaths links --seed 7"
chaos: setup
	cd tests && ../$(BIN)/python -m chaos $(ARGS)

# Tools that only the container tests use, in an environment of their own.
$(VENV)/container/.done: requirements/container.txt $(VENV)/.setup
	$(BIN)/python -m venv --clear $(VENV)/container
	$(VENV)/container/bin/python $(PIP) $(HASHED) -r requirements/container.txt
	@touch $@

# Builds the images and runs them, and opens the load report: needs a Docker engine that answers and Chromium (.ci/run
# starts the one and installs the other).
container: setup $(VENV)/container/.done
	$(BIN)/python -m pytest -m container -o faulthandler_timeout=0 tests/container $(ARGS)

# Runs examples/node against a server: needs node and npm (.ci/run installs them).
node: setup
	$(BIN)/python -m pytest -m node tests/node $(ARGS)

# Writes the pinned requirements anew from pyproject.toml, for Python 3.11 to 3.14 on every platform. Needs uv.
# Pins stay as they are where they can; newer versions: make lock UPGRADE=--upgrade
UPGRADE =
COMPILE = uv pip compile --quiet --no-config --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
  --no-annotate --no-emit-index-url --custom-compile-command "make lock" $(UPGRADE)

lock:
	@command -v uv >/dev/null || { echo "make lock needs uv (pip install uv)" >&2; exit 1; }
	$(COMPILE) pyproject.toml --all-extras --group build --group generate --group test --group check -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra server --extra cli -c requirements/dev.txt -o requirements/server.txt
	$(COMPILE) pyproject.toml --extra load -c requirements/dev.txt -o requirements/load.txt
	$(COMPILE) --group build -c requirements/dev.txt -o requirements/build.txt
	$(COMPILE) --group container -c requirements/dev.txt -o requirements/container.txt
	$(COMPILE) --group bench -c requirements/dev.txt -o requirements/bench.txt
	$(COMPILE) --group bench-triton -o requirements/bench-triton.txt
