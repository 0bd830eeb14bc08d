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

# What was tested, version by version; `make test-newest` goes without.
PINNED ?= -c constraints/tested.txt
# What pins versions and makes a release, in an environment of its own.
TOOLS := .venv-release
# A worker a core, each with one thread: OpenMP threads that spin while they wait cost more than they win.
TESTS = OMP_NUM_THREADS=1 GOMP_SPINCOUNT=0 $(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(ARGS)

.PHONY: help demo test test-all check explore standing promises static format models finders yardsticks audits clean
.PHONY: constraints test-newest test-lowest vulnerabilities release

help: ## what can be made
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1: \2/p' $(MAKEFILE_LIST) | awk -F': ' '{printf "make %-16s %s\n", $$1, $$2}'

test: $(READY) ## the tests but those marked slow
	$(TESTS) -m "not slow"

check: static test-all ## what CI runs

test-all: $(READY) ## every test
	$(TESTS)

explore: $(READY) ## many new examples for the tests that draw; those that fail are kept in .hypothesis and drawn first
	$(TESTS) -m hypothesis --hypothesis-profile=explore

promises: $(READY) ## simulate every interval, certificate and choice that is printed
	$(BIN)/python benchmarks/promises.py $(ARGS)

standing: $(READY) ## state anew what becomes of files that nobody here made; then read the difference
	PYTHONPATH=tests $(BIN)/python -m standing

static: $(READY) ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## format, and mend what can be
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# torch first and alone, so that no other package pulls another build of it.
$(READY): pyproject.toml constraints/tested.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet $(PINNED) "torch>=2.11,<=2.13.0"
	$(BIN)/pip install --quiet $(PINNED) --editable ".[dev]"
	touch $@

$(TOOLS)/.ready: constraints/tools.txt
	test -x $(TOOLS)/bin/python || $(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install --quiet --require-hashes -r $<
	touch $@

# A version stays as long as pyproject.toml allows it; `make constraints UPGRADE=--upgrade` moves all to the newest.
# Headers and annotations would name paths and hosts of this machine.
COMPILE = $(TOOLS)/bin/uv pip compile --python-version 3.11 --no-header --no-annotate --quiet
PIN = $(COMPILE) $(UPGRADE) --universal
constraints: $(TOOLS)/.ready ## pin the versions of everything, with hashes where it is released
	$(PIN) pyproject.toml --extra dev -o constraints/tested.txt
	$(PIN) pyproject.toml --extra dicom --extra evaluate --extra htj2k --extra nifti --generate-hashes \
	    -c constraints/tested.txt -o constraints/release.txt
	$(PIN) --group release --generate-hashes -c constraints/tested.txt -o constraints/tools.txt

test-newest: ## every test against the newest of everything
	rm -rf .venv-newest
	$(MAKE) VENV=.venv-newest PINNED= test-all

# torch is the one that pip finds: other builds of its lower bound may not exist for this machine.
LOWEST := .venv-lowest
test-lowest: $(TOOLS)/.ready ## every test against the lower bounds that pyproject.toml states
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	echo torch > $(LOWEST)/without.txt
	$(COMPILE) --resolution lowest-direct pyproject.toml --extra dev --excludes $(LOWEST)/without.txt -o $(LOWEST)/lowest.txt
	$(MAKE) VENV=$(LOWEST) PINNED="-c $(LOWEST)/lowest.txt" ARGS="-W default" test-all

vulnerabilities: $(TOOLS)/.ready ## known vulnerabilities of the pinned versions, as a public database has them
	$(TOOLS)/bin/pip-audit --strict --disable-pip --no-deps -r constraints/tested.txt
	$(TOOLS)/bin/pip-audit --strict --disable-pip --require-hashes -r constraints/release.txt -r constraints/tools.txt

# Installed as a user would, by hash, and looked at there: licences and who needs whom stand in the bill.
RELEASED := .venv-released
release: $(TOOLS)/.ready ## wheel, sdist, versions with hashes and the bill of materials, in dist/
	rm -rf dist $(RELEASED)
	$(TOOLS)/bin/python -m build --no-isolation
	cp constraints/release.txt dist/requirements.txt
	$(PYTHON) -m venv $(RELEASED)
	$(RELEASED)/bin/pip install --quiet --require-hashes -r dist/requirements.txt
	$(RELEASED)/bin/pip install --quiet --no-deps dist/*.whl
	$(RELEASED)/bin/duoscan bundle
	$(RELEASED)/bin/pip uninstall --quiet --yes pip setuptools
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --validate \
	    --output-file dist/duoscan.cdx.json $(RELEASED)

# The whole system on invented patients: cohort, both phases trained from scratch, a threshold certified on patients of
# another seed (140 sick) for leaving at X-ray, the policy chosen and obeyed, report.
PHANTOM = $(BIN)/duoscan phantom --slices 16 --ct-size 192 --xray-size 384
demo: export DUOSCAN_USES =
demo: $(READY) ## the whole system on invented patients; ends with demo/report.html
	rm -rf $(DEMO)
	$(PHANTOM) --patients $(PATIENTS) --seed 1 --out $(DEMO)/cohort
	$(PHANTOM) --patients 210 --mix 1 4 1 --seed 2 --out $(DEMO)/calibration
	$(BIN)/duoscan train $(DEMO)/cohort/manifest.csv --modality cxr --recipe demo --run $(DEMO)/xray
	$(BIN)/duoscan train $(DEMO)/cohort/manifest.csv --modality ct --recipe demo --run $(DEMO)/ct
	$(BIN)/duoscan triage $(DEMO)/xray $(DEMO)/ct --manifest $(DEMO)/cohort/manifest.csv \
	    --calibration $(DEMO)/calibration/manifest.csv --miss-rate 0.05 --scope xray --out $(DEMO)/triage
	$(BIN)/duoscan screen --manifest $(DEMO)/cohort/manifest.csv --split test --quiet --json $(DEMO)/answers.json \
	    --csv $(DEMO)/answers.csv --xray-bundle $(DEMO)/triage/cxr.duoscan --ct-bundle $(DEMO)/triage/ct.duoscan
	$(BIN)/duoscan report $(DEMO)/xray $(DEMO)/ct --screening $(DEMO)/answers.json --triage $(DEMO)/triage \
	    --out $(DEMO)/report.html

# The two shipped models: DATA holds the tables with their images, WEIGHTS the ImageNet backbone.
models: $(RUNS)/lungs-xray/model.duoscan $(RUNS)/lesions-ct/model.duoscan ## train the two shipped models from DATA and WEIGHTS
	cp $(RUNS)/lungs-xray/model.duoscan src/duoscan/models/cxr.duoscan
	cp $(RUNS)/lesions-ct/model.duoscan src/duoscan/models/ct.duoscan
	$(BIN)/duoscan bundle

# What says where lung and lesion are, before them: TEACHERS holds two networks that are asked and never shipped.
TEACHERS ?= $(DATA)/../weights/teachers
finders: $(READY) ## train the lung finders and the lesion network from DATA and TEACHERS
	$(BIN)/python benchmarks/fit_lungs.py $(DATA) --modality cxr --teacher $(TEACHERS)/cxr_lung_seg_auriml.onnx \
	    --out src/duoscan/models/lungs-cxr.onnx
	$(BIN)/python benchmarks/fit_lungs.py $(DATA) --modality ct --teacher $(TEACHERS)/ct_lung_infection_unet_jchen.onnx \
	    --out src/duoscan/models/lungs-ct.onnx
	$(BIN)/python benchmarks/fit_lesions.py $(DATA) --teacher $(TEACHERS)/ct_lung_infection_unet_jchen.onnx \
	    --out src/duoscan/models/lesions-ct.safetensors

# How well they hold at sources that were left out: what docs/models.md states (about an hour and a half on two cores).
yardsticks: $(RUNS)/data/xray.csv $(RUNS)/data/slices.csv ## what docs/models.md states
	$(BIN)/duoscan yardstick $(RUNS)/data/cxr-all.csv $(RUNS)/data/cxr_siim-all.csv --recipe lungs-xray --recipe compact \
	    --backbone $(WEIGHTS) --folds siim=5 --leave-out siim --leave-out darkcovidnet --leave-out ieee8023 \
	    --run $(RUNS)/yardstick/xray
	$(BIN)/duoscan yardstick $(RUNS)/data/ct-all.csv $(RUNS)/data/ct_drenet-all.csv --recipe lesions-ct \
	    --run $(RUNS)/yardstick/ct

# What docs/audits.md states of the public sets and of the shipped models. A failing gate (exit code 3) is a result here, not an error.
audits: $(RUNS)/data/cxr.csv $(RUNS)/data/ct.csv ## what docs/audits.md states
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

.SECONDARY:
$(RUNS)/data/%-all.csv: $(READY)
	$(BIN)/duoscan import $(DATA)/$*.csv --modality $(firstword $(subst _, ,$*)) $(BOXES_$*) --out $@ --force

$(RUNS)/data/cxr.csv $(RUNS)/data/ct.csv: $(RUNS)/data/%.csv: $(RUNS)/data/%-all.csv
	$(BIN)/duoscan split $< --out $@ --force $(SOURCES_$*)

# What the shipped models learn from.
$(RUNS)/data/xray.csv: $(RUNS)/data/cxr-all.csv $(RUNS)/data/cxr_siim-all.csv
	$(BIN)/duoscan split $^ --out $@ --force

$(RUNS)/data/slices.csv: $(RUNS)/data/ct-all.csv $(RUNS)/data/ct_drenet-all.csv
	$(BIN)/duoscan split $^ --out $@ --force --sources ucsd_covid_ct --sources sarscov2 --sources drenet

$(RUNS)/lungs-xray/model.duoscan: | $(RUNS)/data/xray.csv
	$(BIN)/duoscan train $(RUNS)/data/xray.csv --recipe lungs-xray --backbone $(WEIGHTS) --run $(@D)

$(RUNS)/lesions-ct/model.duoscan: | $(RUNS)/data/slices.csv
	$(BIN)/duoscan train $(RUNS)/data/slices.csv --recipe lesions-ct --run $(@D)

clean: ## remove .venv and runs
	rm -rf .venv-newest $(LOWEST) $(RELEASED) $(TOOLS) $(VENV) $(RUNS)
