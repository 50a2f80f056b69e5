# Every target sets up what it needs, on a machine with git, make and Python 3.11 with pip.
.DEFAULT_GOAL := help
.PHONY: help demo test lint bench soak test-engines test-browser docs lock clean
BIN := .envs/dev/bin
ENGINES := buildbot airflow prefect dagster
BEGAN := $(shell date +%s)

help:          ## what there is
	@grep -hE '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo:          ## the main job on a real Buildbot: run, watch, link, explain; ARGS=--stay leaves the dashboard open
	@scripts/setup dev && scripts/setup buildbot
	@$(BIN)/python -m demo --began $(BEGAN) $(ARGS)

test:          ## all tests, on SQLite and a real PostgreSQL
	@scripts/setup dev
	@$(BIN)/python -m pytest -n 2 -m "not soak and not engine and not browser" $(ARGS)

lint:          ## format, lint, types, import directions, dependencies
	@scripts/setup dev
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/deptry .

bench:         ## figures as ratios against baselines, one JSON object per line
	@scripts/setup bench
	@.envs/bench/bin/python -m benchmarks $(ARGS)

soak:          ## the long tier: 500 kills
	@scripts/setup dev
	@$(BIN)/python -m pytest -m soak --timeout 7200 $(ARGS)

test-engines:  ## tests against real engines, each in an environment of its own; ENGINES=buildbot: that one
	@scripts/setup dev
	@for engine in $(ENGINES); do scripts/setup $$engine || exit; done
	@$(BIN)/python -m pytest -m engine --timeout 600 $(ENGINES:%=plugins/runlink-%) $(ARGS)

test-browser:  ## the dashboard in Debian's Chromium, which is installed where it is missing
	@scripts/chromium
	@scripts/setup browser
	@.envs/browser/bin/python -m pytest -m browser --timeout 300 tests/browser $(ARGS)

lock:          ## write the pinned requirement files anew
	@scripts/setup dev
	@for f in uv dev browser bench $(ENGINES); do .envs/uv/bin/uv pip compile -q --upgrade --generate-hashes --no-header \
	  --no-annotate --no-emit-index-url --no-emit-find-links --universal --python-version 3.11 \
	  requirements/$$f.in -o requirements/$$f.txt; done

clean:         ## remove every environment and build product
	rm -rf .envs build dist .mypy_cache .ruff_cache .hypothesis .import_linter_cache
