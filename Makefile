# Everything runs in .venv, made here on first use; PYTHON names the interpreter to make it from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
WEIGHTS ?= $(DATA)/../weights/mobilenet_v2_imagenet
RUNS ?= runs
READY := $(VENV)/.ready

.PHONY: test check static format models clean

test: $(READY) ## run the tests
	$(BIN)/pytest

check: static test ## what CI runs

static: $(READY) ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch first and alone, so that no other package pulls another build of it.
$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet "torch>=2.11,<=2.13.0"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

# The two shipped models: DATA holds cxr.csv and ct.csv with their images, WEIGHTS the ImageNet backbone.
models: $(RUNS)/compact-xray/model.duoscan $(RUNS)/compact-ct/model.duoscan
	cp $(RUNS)/compact-xray/model.duoscan src/duoscan/models/cxr.duoscan
	cp $(RUNS)/compact-ct/model.duoscan src/duoscan/models/ct.duoscan
	$(BIN)/duoscan bundle

$(RUNS)/data/%.csv: $(READY)
	$(BIN)/duoscan import $(DATA)/$*.csv --modality $* --out $(RUNS)/data/$*-all.csv --force
	$(BIN)/duoscan split $(RUNS)/data/$*-all.csv --out $@ --force

$(RUNS)/compact-xray/model.duoscan: | $(RUNS)/data/cxr.csv
	$(BIN)/duoscan train $(RUNS)/data/cxr.csv --recipe compact --backbone $(WEIGHTS) --run $(@D)

$(RUNS)/compact-ct/model.duoscan: | $(RUNS)/data/ct.csv
	$(BIN)/duoscan train $(RUNS)/data/ct.csv --recipe compact --backbone $(WEIGHTS) --run $(@D)

clean:
	rm -rf $(VENV) $(RUNS)
