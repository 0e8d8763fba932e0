# `make` without arguments lists the targets. Each target installs its own dependencies.
PYTHON ?= $(shell for python in python3 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null && echo $$python && break; done)
VENV ?= .venv
DEMO ?= build/demo
BIN := $(VENV)/bin
SERVERS := build/servers
ENGINES := build/engines
AIRFLOW := build/airflow

.PHONY: help install demo docs screenshots test test-flink test-spark test-prism test-airflow test-image soak soak-flink soak-spark check format fuzz bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.base ## set up the environment in .venv

demo: $(VENV)/.base ## draw pictures, train on them, and classify a catalogue with a few broken files
	rm -rf $(DEMO)
	$(BIN)/python -m demo.draw $(DEMO)
	$(BIN)/python -m trainer train --data $(DEMO)/photos --model-dir $(DEMO)/model --backbone small
	$(BIN)/python -m pipeline classify --input $(DEMO)/catalogue.csv --model-dir $(DEMO)/model --output $(DEMO)/run
	@echo "Reports: $(DEMO)/model/report.html and $(DEMO)/run/report.html"

docs: $(VENV)/.docs ## build the documentation site in build/site
	$(BIN)/python -m docs.cli_reference
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo "Documentation: build/site/index.html"

screenshots: demo ## take the screenshots of the demo's reports for the README (needs Chromium)
	$(BIN)/python -m docs.screenshots $(DEMO)

test: $(VENV)/.dev $(SERVERS)/.done ## run the tests (about ten minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-flink: $(VENV)/.dev $(ENGINES)/flink/.done $(ENGINES)/boot ## run jobs on an embedded Flink (about two minutes)
	$(BIN)/python -m pytest -m flink tests/test_embedded_engines.py tests/test_deploy.py

test-spark: $(VENV)/.dev $(ENGINES)/spark/.done $(ENGINES)/boot ## run jobs on an embedded Spark (about two minutes)
	$(BIN)/python -m pytest -m spark tests/test_embedded_engines.py

test-prism: $(VENV)/.dev $(ENGINES)/prism ## run jobs on Beam's Prism (about a minute)
	$(BIN)/python -m pytest -m prism tests/test_embedded_engines.py

test-airflow: $(VENV)/.dev $(AIRFLOW)/.done ## run the DAG in deploy/ on Airflow (about a minute)
	$(BIN)/python -m pytest -m airflow tests/test_deploy.py

test-image: $(VENV)/.dev $(ENGINES)/boot ## test the Dockerfile's steps in a fresh environment (some minutes)
	$(BIN)/python -m pytest -m image tests/test_docker.py

soak-flink: $(VENV)/.dev $(ENGINES)/flink/.done $(ENGINES)/boot ## run jobs on a Flink cluster and kill some of its processes (about ten minutes)
	$(BIN)/python -m pytest -m engines -k "not spark" -s tests/test_clusters.py

soak-spark: $(VENV)/.dev $(ENGINES)/spark/.done $(ENGINES)/boot ## run jobs on a Spark cluster and kill some of its processes (some minutes)
	$(BIN)/python -m pytest -m engines -k spark -s tests/test_clusters.py

soak: $(VENV)/.dev $(SERVERS)/.done ## kill runs at many random times, and classify 200,000 images (about 35 minutes on two cores)
	$(BIN)/python -m pytest -m soak -s tests/test_kills.py

check: $(VENV)/.dev ## check style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/.dev ## format the code and fix lint errors
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

fuzz: $(VENV)/.dev ## feed 50,000 broken files to the image reader (about three minutes)
	$(BIN)/python tests/fuzz_images.py --count 50000

BENCHMARKS := decode whole_line startup ceiling feature_pass half_precision slow_storage skew scale unchanged graph host_memory peers

bench: $(VENV)/.dev ## run the benchmarks; results and hardware are in docs/benchmarks.md
	@bad=; for name in $(BENCHMARKS); do \
		echo "benchmarks.$$name" >&2; $(BIN)/python -m benchmarks.$$name || bad="$$bad $$name"; \
	done; test -z "$$bad" || { echo "failed, or limits not met:$$bad" >&2; exit 1; }

clean: ## remove the environment and everything built
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.base: setup.py constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.10, 3.11 or 3.12 is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.docs: $(VENV)/.base
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Local gs:// and az:// servers for tests; without Go or npm, these tests are skipped. The s3:// server is on PyPI.
$(SERVERS)/.done: Makefile
	@mkdir -p $(SERVERS)
	@if command -v go >/dev/null; then GOBIN=$(CURDIR)/$(SERVERS) go install github.com/fsouza/fake-gcs-server@v1.56.1; \
	else echo "Go is not installed: tests of gs:// will be skipped" >&2; fi
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --prefix $(SERVERS) azurite@3.37.0; \
	else echo "npm is not installed: tests of az:// will be skipped" >&2; fi
	@touch $@

# Flink (152 MB) and Spark (260 MB) for tests, downloaded with Maven; without Maven those tests are skipped.
COPY_JARS := org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies
$(ENGINES)/%/.done: tests/data/engines/%/pom.xml
	@mkdir -p $(@D)
	@if command -v mvn >/dev/null; then mvn --quiet --batch-mode --file $< $(COPY_JARS) -DoutputDirectory=$(CURDIR)/$(@D)/jars \
		&& touch $@; else echo "Maven is not installed: tests of $* will be skipped" >&2; fi

# Airflow for a test, in a separate environment because its dependencies conflict with Beam's.
$(AIRFLOW)/.done: $(VENV)/.base
	$(BIN)/python -m venv $(AIRFLOW)
	$(AIRFLOW)/bin/pip install --quiet --disable-pip-version-check 'apache-airflow==3.3.2'
	@touch $@

# Beam's boot program, which starts workers on the machines of an engine, and Prism; versions as in constraints.txt.
BEAM := github.com/apache/beam/sdks/v2
$(ENGINES)/boot: constraints.txt
	@mkdir -p $(ENGINES)
	@if command -v go >/dev/null; then GOBIN=$(CURDIR)/$(ENGINES) go install $(BEAM)/python/container@v2.77.0 \
		&& mv $(ENGINES)/container $@ && touch $@; else echo "Go is not installed: tests of clusters will be skipped" >&2; fi

$(ENGINES)/prism: constraints.txt
	@mkdir -p $(ENGINES)
	@if command -v go >/dev/null; then GOBIN=$(CURDIR)/$(ENGINES) go install $(BEAM)/go/cmd/prism@v2.77.0 \
		&& touch $@; else echo "Go is not installed: tests of Prism will be skipped" >&2; fi
