# Two commands: `make demo` and `make test`. Both make .venv and install oarseg into it first.
PYTHON ?= python3
VENV ?= .venv
# For example PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for the smaller CPU build of PyTorch.
PIP_ARGS ?=
BIN = $(VENV)/bin
MONAILABEL_VENV ?= .venv-monailabel
MONAILABEL_PINS = tests/peers/constraints-monailabel.txt

.PHONY: demo test test-monailabel lint docs sync reproduce-tables clean

demo: $(VENV)/.installed
	$(BIN)/oarseg demo

test: $(VENV)/.installed
	$(BIN)/python -m pytest

# The bundles as models of a real MONAI Label server, which needs older packages and so an environment of its own (4 GB).
test-monailabel: $(VENV)/.installed $(MONAILABEL_VENV)/.installed
	OARSEG_MONAILABEL=$(MONAILABEL_VENV) $(BIN)/python -m pytest tests/peers

lint: $(VENV)/.installed
	$(BIN)/ruff check .

# The pages of docs/ as a site in docs/_build/html; needs no network.
docs: $(VENV)/.installed
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

sync: $(VENV)/.installed
	$(BIN)/oarseg bundles sync

# docs/results.md, docs/localization.md, docs/compression.md, docs/reliability.md, the README's and the cards' tables, all from stored per-case CSVs.
reproduce-tables: $(VENV)/.installed
	$(BIN)/python -m experiments.ablation.run table
	$(BIN)/python -m experiments.localization.run figure
	$(BIN)/python -m experiments.compression.page
	$(BIN)/python -m experiments.benchmarks.reliability
	$(BIN)/oarseg bundles sync

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "oarseg needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e ".[test,docs,openvino,seg,cluster,node,dicomweb]"
	touch $@

$(MONAILABEL_VENV)/.installed: setup.cfg $(MONAILABEL_PINS)
	$(PYTHON) -m venv $(MONAILABEL_VENV)
	$(MONAILABEL_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) -c $(MONAILABEL_PINS) monailabel 'dicomweb-client[gcp]' -e .
	touch $@

clean:
	rm -rf $(MONAILABEL_VENV) $(VENV) oarseg_demo
