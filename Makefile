# `make help` lists what can be done; every target sets up what it needs.
export OMP_NUM_THREADS = 1
PYTHON ?= python3
BIN := .venv/bin
CODE := app cli engine problems tests benchmarks $(wildcard *.py)

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

serve: .make/run  ## serve predictions on http://localhost:8000 (settings: see docs/reference.md)
	@$(BIN)/python train_model.py --served
	@exec $(BIN)/python -m app

train: .make/run  ## train the default model on the simulated market
	$(BIN)/python train_model.py

up:  ## the same service in containers
	docker compose up --build

check: format-check lint types test  ## format, lint, types and the quick tests

format-check: .make/dev  ## is every file formatted?
	$(BIN)/ruff format --check $(CODE)

lint: .make/dev  ## ruff, the table of imports, the schema of the workflow
	$(BIN)/ruff check --no-cache $(CODE)
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

types: .make/dev  ## mypy --strict, tests and benchmarks included
	$(BIN)/mypy

test: .make/dev  ## the quick tests
	$(BIN)/pytest -n 3 --dist worksteal

test-slow: .make/dev  ## whole stories of the scripts, many trainings each
	$(BIN)/pytest -n 3 --dist worksteal -m slow

test-browser: .make/dev  ## /docs in a real headless Chromium
	$(BIN)/pytest -m browser

test-load: .make/dev  ## swaps, kill -9, a slow shadow, the month: under load
	$(BIN)/pytest -m load -s

test-spark: .make/spark  ## two Spark workers, one of them killed half-way (Java 17 or newer)
	$(BIN)/pytest -m slow tests/cli/test_score_spark.py

test-docker: .make/dev  ## build, start, predict, restart: in real containers
	$(BIN)/pytest -m docker

demo: .make/dev  ## a month of a moving market in two minutes: drift, a roll-out, a roll-back
	$(BIN)/python -m cli demo

bench-intervals: .make/bench  ## our intervals beside MAPIE and crepes on King County
	$(BIN)/python -m benchmarks.intervals

bench: .make/dev  ## our service beside what one would pick instead: speed, latency, start, memory
	$(BIN)/python -m benchmarks.peers

bench-quick: .make/dev  ## the same in a minute, with the peers that are installed already
	$(BIN)/python -m benchmarks.peers --quick

bench-gate: .make/dev  ## how often the gate is wrong, and how often it sees what is better
	$(BIN)/python -m benchmarks.gate

bench-watching: .make/dev  ## how often live comparisons and roll-outs err, whenever one looks
	$(BIN)/python -m benchmarks.watching

bench-year: .make/dev  ## a year of bike rentals: do intervals hold while the world changes?
	$(BIN)/python -m benchmarks.year

bench-growth: .make/dev  ## what records cost at 10^5, 10^6 and 5*10^6 rows: is it flat?
	$(BIN)/python -m benchmarks.growth

bench-scoring: .make/dev  ## ten million rows of a table beside the bare evaluator, and the memory
	$(BIN)/python -m benchmarks.scoring

format: .make/dev  ## format every file
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

lock: .make/dev  ## refresh every pin from pyproject.toml
	$(BIN)/python -m uv pip compile -q --upgrade $(LOCK) pyproject.toml -o requirements/serve.txt
	$(BIN)/python -m uv pip compile -q --upgrade $(LOCK) --extra train -c requirements/serve.txt pyproject.toml -o requirements.txt
	$(BIN)/python -m uv pip compile -q --upgrade $(LOCK) --extra train --extra dev -c requirements.txt pyproject.toml -o requirements/dev.txt
	$(BIN)/python -m uv pip compile -q --upgrade $(LOCK) --extra train --extra bench -c requirements.txt pyproject.toml -o requirements/bench.txt
	$(BIN)/python -m uv pip compile -q --upgrade $(LOCK) --extra train --extra spark -c requirements.txt pyproject.toml -o requirements/spark.txt
LOCK := --universal --python-version 3.11 --no-header --no-emit-index-url

clean:  ## remove the environment and what was generated
	rm -rf .venv .make .mypy_cache .pytest_cache .ruff_cache .hypothesis

.make/venv:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; set PYTHON=") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	@mkdir -p .make && touch $@

.make/run: .make/venv requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.make/dev: .make/run requirements/dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@touch $@

.make/bench: .make/run requirements/bench.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/bench.txt
	@touch $@

.make/spark: .make/dev requirements/spark.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements/spark.txt
	@touch $@

.PHONY: help serve train up check format-check lint types test test-slow test-browser test-docker test-load test-spark bench-intervals bench-scoring bench-gate bench-watching bench bench-quick bench-growth bench-year demo format lock clean
