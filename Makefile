# The one entry. Needs python3 (3.11 or newer, with venv) and make; everything else is installed into .venv.

# The first interpreter that is new enough; `make PYTHON=...` takes another.
ifndef PYTHON
PYTHON := $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
  $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
endif
VENV ?= .venv
BIN := $(VENV)/bin
# Touched last, so an interrupted install is repeated; older than the two files, so a change of them is too.
STAMP := $(VENV)/.installed
STAMP_DEV := $(VENV)/.installed-dev
# What the tests of today import; `pip install '.[all]'` adds the servers and Ray.
DEV_EXTRAS := media,web,train,eval,dev
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# Test processes; files of tests stay together, as they share what they set up.
JOBS ?= 2
AUDIO ?= assets
# For `make tiny`; MINUTES=0.2, say, makes each of its two stages as short.
RECORDINGS ?= ../shared/recordings
TINY ?= runs/tiny-in-minutes
MINUTES ?=
QUERY ?=
# What make local-benchmark builds, and beside it the answers.
LOCAL ?= runs/local-benchmark
export AUDIO QUERY

# OpenMP's threads spin while they wait, which is ruinous on shared cores.
OMP_NUM_THREADS ?= 1
export OMP_NUM_THREADS

.DEFAULT_GOAL := help
.PHONY: help demo test lint format types parity bench local-benchmark tiny lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/  -/'

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "venv is missing: on Debian or Ubuntu install python3-venv"; exit 1; }

$(STAMP): $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing the package into $(VENV) (some minutes the first time)"
	@$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(STAMP_DEV): $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "installing the package and its development tools into $(VENV) (some minutes the first time)"
	@$(PIP) install --constraint constraints.txt --editable '.[$(DEV_EXTRAS)]'
	@touch $(STAMP) $@

demo: $(STAMP) ## answer questions about recordings with the bundled model, offline (AUDIO=folder QUERY="...")
	@$(BIN)/python examples/demo.py

test: $(STAMP_DEV) ## all tests: no network, no GPU, no weights but the bundled ones
	@$(BIN)/python -m pytest -q --numprocesses $(JOBS) --dist loadfile

lint: $(STAMP_DEV) ## format check and lint
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

format: $(STAMP_DEV) ## rewrite the files in the project's format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

types: $(STAMP_DEV) ## strict types
	@$(BIN)/mypy

parity: $(STAMP_DEV) ## every from-scratch module against stored outputs of the original
	@$(BIN)/python -m pytest -q -rA tests/parity

bench: $(STAMP_DEV) ## speed and memory on this machine
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

local-benchmark: $(STAMP_DEV) ## build the benchmark of ../shared, run naturelm-tiny on it, write its report into docs
	@mkdir -p $(LOCAL)-answers
	@$(BIN)/python -m naturelm_audio beans-build --cfg-path configs/local_benchmark.yml --output $(LOCAL) --overwrite
	@$(BIN)/python -c 'from naturelm_audio.cli import beans_main; beans_main()' --data-path $(LOCAL) \
	  --output-path $(LOCAL)-answers/naturelm-tiny.jsonl --overwrite
	@cp $(LOCAL)-answers/naturelm-tiny_metrics_plot.png docs/local-benchmark.png
	@sed '/^<!-- Everything below/q' docs/local-benchmark.md > $(LOCAL)-answers/page.md
	@echo >> $(LOCAL)-answers/page.md
	@sed -e '/_plot\.png)$$/d' -e 's/^#/##/' $(LOCAL)-answers/naturelm-tiny_metrics_report.md >> $(LOCAL)-answers/page.md
	@cat -s $(LOCAL)-answers/page.md > docs/local-benchmark.md

tiny: $(STAMP_DEV) ## compile and check the data of ../shared, train naturelm-tiny for five minutes, evaluate it
	@$(PIP) install --constraint constraints.txt --editable '.[train,distill]'
	@mkdir -p $(TINY)
	@$(BIN)/naturelm data compile $(RECORDINGS)/manifest.csv --output $(TINY)/questions.jsonl --drop-bad \
	  --tasks names --tasks candidates --tasks detection-open --hold-out none --report $(TINY)/questions.json
	@$(BIN)/torchrun --standalone --nproc-per-node 2 -m naturelm_audio train --cfg-path configs/tiny_minutes.yml \
	  --output-dir $(TINY)/run --options scenes.manifest=$(RECORDINGS)/manifest.csv \
	  --options data.valid=[$(TINY)/questions.jsonl] --options data.audio_root=$(RECORDINGS) \
	  --options data.exclude_sources=[pak-birds] $(if $(MINUTES),--options optimiser.minutes=$(MINUTES))
	@$(BIN)/naturelm train-evaluate $(TINY)/run/stage2/model --manifest $(RECORDINGS)/manifest.csv

lock: ## rewrite constraints.txt: the newest of everything that fits together
	@rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	@# Resolved, not installed: the report names what pip would put into an empty environment.
	@.venv-lock/bin/python -m pip --disable-pip-version-check --quiet --quiet install --dry-run --ignore-installed \
	  --report .venv-lock/report.json '.[all,distill,dev,oracles]' 'torch==2.13.0'
	@# cuda-bindings: the one CUDA package that torch does not pin itself; it is not resolved without CUDA.
	@.venv-lock/bin/python -c 'import json; [print(d["metadata"]["name"] + "==" + d["metadata"]["version"]) for d in json.load(open(".venv-lock/report.json"))["install"]]' > .venv-lock/pins
	@echo cuda-bindings==13.0.3 >> .venv-lock/pins
	@grep -vE '^(naturelm-audio|pip|setuptools|wheel)==' .venv-lock/pins | sed 's/+.*//' | LC_ALL=C sort -f -u > constraints.txt
	@rm -rf .venv-lock

clean: ## remove the environment and what was built
	rm -rf $(VENV) .venv-lock build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
