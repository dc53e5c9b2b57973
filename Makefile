# `make` installs everything into .venv; the other targets do so first.
PYTHON ?= python3
VENV ?= .venv
# For example PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" for the smaller CPU build of PyTorch.
PIP_ARGS ?=
BIN = $(VENV)/bin
# Of the tests: processes, and further options.
WORKERS ?= 3
PYTEST_ARGS ?=
MONAILABEL_VENV ?= .venv-monailabel
MONAILABEL_PINS = tests/peers/constraints-monailabel.txt

.PHONY: install demo test test-quick test-monailabel lint docs sync reproduce-tables clean

install: $(VENV)/.installed
	@echo "installed; run $(BIN)/oarseg, or oarseg after: source $(BIN)/activate"

demo: $(VENV)/.installed
	$(BIN)/oarseg demo
	@echo "your own CT: $(BIN)/oarseg segment DICOM_FOLDER -o contours"

# Everything, by three processes, as many tests wait; one thread each, as threads that wait for each other cost more than
# they compute.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

# The fast majority: without tests of many seconds and without other programs.
test-quick: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not peer" $(PYTEST_ARGS)

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

# The tables of docs/, README and cards, from stored results of every case.
reproduce-tables: $(VENV)/.installed
	$(BIN)/python -m experiments.ablation.run table
	$(BIN)/python -m experiments.localization.run figure
	$(BIN)/python -m experiments.compression.page
	$(BIN)/python -m experiments.benchmarks.reliability
	$(BIN)/python -m experiments.scores.facts
	$(BIN)/oarseg bundles sync

$(VENV)/.installed: setup.cfg constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "oarseg needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e ".[all,test,docs]"
	touch $@

$(MONAILABEL_VENV)/.installed: setup.cfg $(MONAILABEL_PINS)
	$(PYTHON) -m venv $(MONAILABEL_VENV)
	$(MONAILABEL_VENV)/bin/python -m pip install --quiet $(PIP_ARGS) -c $(MONAILABEL_PINS) monailabel 'dicomweb-client[gcp]' -e '.[monai]'
	touch $@

clean:
	rm -rf $(MONAILABEL_VENV) $(VENV) oarseg_demo
