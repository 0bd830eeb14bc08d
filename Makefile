# Everything runs in .venv, made here on first use; PYTHON names the interpreter to make it from.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= ../shared/data
WEIGHTS ?= $(DATA)/../weights/mobilenet_v2_imagenet
RUNS ?= runs
DEMO ?= demo
PATIENTS ?= 300
READY := $(VENV)/.ready

.PHONY: demo test check explore static format models audits clean

test: $(READY) ## run the tests
	$(BIN)/pytest

check: static test ## what CI runs

explore: $(READY) ## draw many new examples for the tests that draw; those that fail are kept in .hypothesis and tried first
	$(BIN)/pytest -m hypothesis --hypothesis-profile=explore

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

# The whole system on invented patients: cohort, both phases trained from scratch, a threshold certified on patients of
# another seed (96 sick, of whom one may leave), the policy chosen and obeyed, report.
PHANTOM = $(BIN)/duoscan phantom --slices 16 --ct-size 192 --xray-size 384
demo: export DUOSCAN_USES =
demo: $(READY)
	rm -rf $(DEMO)
	$(PHANTOM) --patients $(PATIENTS) --seed 1 --out $(DEMO)/cohort
	$(PHANTOM) --patients 144 --mix 1 4 1 --seed 2 --out $(DEMO)/calibration
	$(BIN)/duoscan train $(DEMO)/cohort/manifest.csv --modality cxr --recipe demo --run $(DEMO)/xray
	$(BIN)/duoscan train $(DEMO)/cohort/manifest.csv --modality ct --recipe demo --run $(DEMO)/ct
	$(BIN)/duoscan triage $(DEMO)/xray $(DEMO)/ct --manifest $(DEMO)/cohort/manifest.csv \
	    --calibration $(DEMO)/calibration/manifest.csv --miss-rate 0.05 --out $(DEMO)/triage
	$(BIN)/duoscan screen --manifest $(DEMO)/cohort/manifest.csv --split test --quiet --json $(DEMO)/answers.json \
	    --csv $(DEMO)/answers.csv --xray-bundle $(DEMO)/triage/cxr.duoscan --ct-bundle $(DEMO)/triage/ct.duoscan
	$(BIN)/duoscan report $(DEMO)/xray $(DEMO)/ct --screening $(DEMO)/answers.json --triage $(DEMO)/triage \
	    --out $(DEMO)/report.html

# The two shipped models: DATA holds cxr.csv and ct.csv with their images, WEIGHTS the ImageNet backbone.
models: $(RUNS)/compact-xray/model.duoscan $(RUNS)/compact-ct/model.duoscan
	cp $(RUNS)/compact-xray/model.duoscan src/duoscan/models/cxr.duoscan
	cp $(RUNS)/compact-ct/model.duoscan src/duoscan/models/ct.duoscan
	$(BIN)/duoscan bundle

# What docs/audits.md states of the public sets and of the shipped models. A failing gate (exit code 3) is a result here, not an error.
audits: $(RUNS)/data/cxr.csv $(RUNS)/data/ct.csv
	$(BIN)/duoscan shortcuts $(RUNS)/data/cxr.csv --sources darkcovidnet --backbone $(WEIGHTS) --run $(RUNS)/shortcuts/darkcovidnet
	$(BIN)/duoscan shortcuts $(RUNS)/data/cxr.csv --backbone $(WEIGHTS) --run $(RUNS)/shortcuts/cxr
	$(BIN)/duoscan shortcuts $(RUNS)/data/ct.csv --backbone $(WEIGHTS) --run $(RUNS)/shortcuts/covid-ct
	$(BIN)/duoscan shortcuts $(RUNS)/data/ct-all.csv --sources ucsd_covid_ct --sources sarscov2 --backbone $(WEIGHTS) \
	    --run $(RUNS)/shortcuts/ct
	-$(BIN)/duoscan audit $(RUNS)/data/cxr-all.csv --out $(RUNS)/audits/cxr-data --force
	-$(BIN)/duoscan audit $(RUNS)/data/ct-all.csv --out $(RUNS)/audits/ct-data --force
	-$(BIN)/duoscan audit $(RUNS)/data/cxr.csv --run src/duoscan/models/cxr.duoscan --shortcuts $(RUNS)/shortcuts/cxr/shortcuts.json \
	    --out $(RUNS)/audits/cxr --force
	-$(BIN)/duoscan audit $(RUNS)/data/ct.csv --run src/duoscan/models/ct.duoscan --shortcuts $(RUNS)/shortcuts/covid-ct/shortcuts.json \
	    --out $(RUNS)/audits/ct --force

# COVID-CT has an official split and the others overlap with its test part or would be no external test any more.
SOURCES_ct := --sources ucsd_covid_ct
BOXES_cxr := --lung-boxes $(DATA)/cxr_lung_boxes.csv

$(RUNS)/data/%.csv: $(READY)
	$(BIN)/duoscan import $(DATA)/$*.csv --modality $* $(BOXES_$*) --out $(RUNS)/data/$*-all.csv --force
	$(BIN)/duoscan split $(RUNS)/data/$*-all.csv --out $@ --force $(SOURCES_$*)

$(RUNS)/compact-xray/model.duoscan: | $(RUNS)/data/cxr.csv
	$(BIN)/duoscan train $(RUNS)/data/cxr.csv --recipe compact --backbone $(WEIGHTS) --run $(@D)

$(RUNS)/compact-ct/model.duoscan: | $(RUNS)/data/ct.csv
	$(BIN)/duoscan train $(RUNS)/data/ct.csv --recipe compact --backbone $(WEIGHTS) --run $(@D)

clean:
	rm -rf $(VENV) $(RUNS)
