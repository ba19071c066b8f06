# make run      everything installed, then the main job on the embedded default
# make test     the same and the components of the tests, then all tests
# make check    lint, types, layer contracts, generated code
# make develop  what make test installs

# Byte code is kept, whatever the shell says: the tests start many processes, each of which would compile all of it.
export PYTHONDONTWRITEBYTECODE :=

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PLUGINS := $(sort $(wildcard ./plugins/*/pyproject.toml))
PACKAGES := . ./protos ./workers $(PLUGINS:%/pyproject.toml=%)
PROJECT_FILES := pyproject.toml constraints.txt protos/pyproject.toml workers/pyproject.toml $(PLUGINS)
TEST_PLUGIN := ./tests/plugins/rft-test-plugin
PIP_INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: run install develop test check lint types contracts protos chaos test-gpu clean

run: install
	$(BIN)/rft-engine run examples/arithmetic/run.yaml

install: $(VENV)/.installed

# The build backend once, and not anew for each of our packages.
$(VENV)/.installed: $(PROJECT_FILES)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) torch==2.13.0 hatchling editables
	$(PIP_INSTALL) --no-build-isolation --editable '.[dev]' $(patsubst %,--editable %,$(filter-out .,$(PACKAGES)))
	touch $@

# Apart, so that components which only tests use are in no list that users choose from.
develop: $(VENV)/.develop

$(VENV)/.develop: $(VENV)/.installed $(TEST_PLUGIN)/pyproject.toml
	$(PIP_INSTALL) --no-build-isolation --editable $(TEST_PLUGIN)
	touch $@

test: develop
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder

check: lint types contracts protos

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy $(addprefix -p ,rft_core rft_workers $(subst -,_,$(notdir $(PLUGINS:%/pyproject.toml=%))))

contracts: install
	$(BIN)/lint-imports

protos: install
	bash protos/generate.sh --check

# On a machine with a CUDA device and torch for it.
test-gpu: develop
	$(BIN)/pytest tests/gpu -m gpu -n 4

chaos: develop
	$(BIN)/pytest tests/chaos --kills 1000 --model-kills 50

clean:
	rm -rf $(VENV) .venv-protos .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
