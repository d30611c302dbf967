# Each verb does its whole set-up (`make help` lists them). Needs Python 3.11 with pip; nothing is
# installed outside .venv/ and, for `make matrix`, .venv-matrix/.
# make test ARGS="-k clip" hands arguments on; make demo EPISODES=20 is quicker and decides less.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
WORKERS ?= 2
EPISODES ?= 50
OUT ?= runs/demo
ARGS ?=
LEGS ?=

export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: help setup demo test lint bench mutants matrix

help:
	@echo "make demo   paired run of the shipped policies on the arm tasks, with a report (1 to 3 min)"
	@echo "make test   the whole test suite"
	@echo "make lint   ruff and mypy"
	@echo "make bench  how fast environments, runs and training are on this machine"
	@echo "make mutants  whether the tests find small faults that are planted one by one (an hour)"
	@echo "make matrix the suite on Python 3.11 to 3.13 and at the declared lower bounds (hours, 30 GB)"
	@echo "            LEGS=3.12,lowest chooses; what passed is not run again; needs those Pythons"
	@echo "make setup  only the set-up that each of them does first"

setup: $(STAMP)

# Debian's python without python3-venv has no ensurepip: then the outer pip fills the venv.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"neon_sim needs Python 3.11 to 3.13 (got {v[0]}.{v[1]}); set PYTHON=/path/to/python3.11")'
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --clear --without-pip $(VENV)
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(PY) install -q pip
	@echo "installing into $(VENV) (the first time takes minutes) ..."
	@$(PY) -m pip install -q -c constraints.txt torch
	@$(PY) -m pip install -q -c constraints.txt -e ".[dev]"
	@$(PY) -m pip install -q --no-deps -c constraints.txt openwakeword  # two ONNX files, see pyproject
	@touch $@
	@echo "ready. Rendering uses EGL or OSMesa where there is one and ray casting where not;"
	@echo "\`$(VENV)/bin/neon-bench doctor\` says which, how fast, and what would make it faster."

demo: $(STAMP)
	$(PY) -m neon_sim.benchmarks.cli run --policy neon_tiny --condition frame,video,video_repeat \
	  --suite arm --episodes $(EPISODES) --seed 0 --workers $(WORKERS) --out $(OUT) --resume $(ARGS)
	@echo "open $(OUT)/report.html; for the commands of the README: . $(VENV)/bin/activate"

test: $(STAMP)
	$(PY) -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

lint: $(STAMP)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy --strict -p neon_sim
	$(PY) -m mypy

bench: $(STAMP)
	$(PY) -m neon_sim.benchmarks.perf $(ARGS)

mutants: $(STAMP)
	@$(PY) -m pip install -q --no-deps -c constraints.txt libcst mutmut
	nice -n 15 $(PY) tests/tools/mutants.py $(ARGS)

matrix: $(STAMP)
	$(PY) tests/tools/matrix.py --workers $(WORKERS) $(if $(LEGS),--legs $(LEGS)) -- $(ARGS)
