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

.PHONY: help demo test test-all check explore standing promises static format models audits clean
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

# The two shipped models: DATA holds cxr.csv and ct.csv with their images, WEIGHTS the ImageNet backbone.
models: $(RUNS)/compact-xray/model.duoscan $(RUNS)/compact-ct/model.duoscan ## train the two shipped models from DATA and WEIGHTS
	cp $(RUNS)/compact-xray/model.duoscan src/duoscan/models/cxr.duoscan
	cp $(RUNS)/compact-ct/model.duoscan src/duoscan/models/ct.duoscan
	$(BIN)/duoscan bundle

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

$(RUNS)/data/%.csv: $(READY)
	$(BIN)/duoscan import $(DATA)/$*.csv --modality $* $(BOXES_$*) --out $(RUNS)/data/$*-all.csv --force
	$(BIN)/duoscan split $(RUNS)/data/$*-all.csv --out $@ --force $(SOURCES_$*)

$(RUNS)/compact-xray/model.duoscan: | $(RUNS)/data/cxr.csv
	$(BIN)/duoscan train $(RUNS)/data/cxr.csv --recipe compact --backbone $(WEIGHTS) --run $(@D)

$(RUNS)/compact-ct/model.duoscan: | $(RUNS)/data/ct.csv
	$(BIN)/duoscan train $(RUNS)/data/ct.csv --recipe compact --backbone $(WEIGHTS) --run $(@D)

clean: ## remove .venv and runs
	rm -rf .venv-newest $(LOWEST) $(RELEASED) $(TOOLS) $(VENV) $(RUNS)
