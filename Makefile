# Two commands for a fresh machine: `make demo` and `make test`. The rest is for developers; `make help` lists all.

.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --no-input --disable-pip-version-check -c constraints.txt
SAMPLE := sample_data/annealing-pair.zarr
DEMO := demo

# Set PYTHON to choose the interpreter; else the first of these that is 3.11 or newer and can make a venv.
PYTHONS := python3.11 python3 python3.12 python3.13 python3.14 python

.PHONY: help venv demo test lint format benchmark sample models pictures clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@python="$(PYTHON)"; \
	for one in $(PYTHONS); do \
	  [ -z "$$python" ] || break; \
	  "$$one" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && python=$$one; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "No Python 3.11 or newer with venv was found: install one (Debian, Ubuntu: apt-get install python3-venv)," \
	       "or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	"$$python" -m venv $(VENV)

# One stamp for what the demo needs, one for what the tests need: installed again only when the pins change.
$(VENV)/.demo: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[all]'
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.demo

venv: $(VENV)/.test  ## make .venv with all that tests and development need

demo: $(VENV)/.demo  ## analyse the sample video, write maps and plots under demo/, open napari
	@rm -rf $(DEMO) && mkdir -p $(DEMO)
	$(BIN)/hrtem-vae analyze $(SAMPLE) -o $(DEMO)/annealing-pair-result.zarr --export $(DEMO)
	@echo "In $(DEMO)/: maps (TIFF, PNG), z against time and hotspots (PNG, CSV), and the result store."
	@if [ -n "$${DISPLAY:-}$${WAYLAND_DISPLAY:-}" ] || [ "$$(uname -s)" != Linux ]; then \
	  .ci/window-libraries; \
	  $(BIN)/hrtem-vae view $(SAMPLE) $(DEMO)/annealing-pair-result.zarr; \
	else \
	  echo "No display here; on one, open them with: $(BIN)/hrtem-vae view $(SAMPLE) $(DEMO)/annealing-pair-result.zarr"; \
	fi

# The first variable turns on napari's own check that nothing but the main thread touches the viewer. Two processes
# of one thread each, a file of tests at a time: threads of several that fight for the cores take five times as long.
test: lint  ## all checks and the whole test suite
	@.ci/window-libraries
	NAPARI_ENSURE_PLUGIN_MAIN_THREAD=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test  ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

benchmark: $(VENV)/.test  ## speed and accuracy; prints tables of ratios
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

sample: $(VENV)/.demo  ## simulate the sample video again
	@rm -rf build/sample && mkdir -p build/sample
	$(BIN)/hrtem-vae simulate annealing-pair -o build/sample/annealing-pair.zarr --seed 0
	@rm -rf sample_data/annealing-pair.zarr sample_data/annealing-pair-truth.zarr
	@mv build/sample/*.zarr sample_data/

models: $(VENV)/.demo  ## train the shipped models again (minutes to an hour each)
	for recipe in pbs-64-fast pbs-64; do \
	  $(BIN)/hrtem-vae train simulated --recipe $$recipe \
	    -o src/napari_hrtem_vae/vae/models/$$recipe.safetensors || exit 1; \
	done

pictures: $(VENV)/.test  ## make the pictures of the docs from the real window
	@.ci/window-libraries
	$(BIN)/python docs/make_pictures.py

clean:  ## remove what these commands made, the .venv too
	rm -rf $(VENV) $(DEMO) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
