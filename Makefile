.DEFAULT_GOAL := help
.PHONY: help install run smoke test test-python slowest soak check check-lint check-types check-imports check-prose check-page format vendor dashboards versions release-check bench bench-short bench-hold bench-long bench-peers bench-doors bench-telemetry chaos ceilings doors drill ledger parts load load-ui chart image up up-observability down lock system-deps test-system clean

# With it, each of the many processes of the tests would compile all sources again.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin

help: ## list all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

run: .venv/.service ## start Lex on http://localhost:8000 (or PORT=), with a stand-in if there is no GROQ_API_KEY
	@$(BIN)/python -m infrastructure.run --port '$(PORT)'

smoke: .venv/.service ## ask the real Groq one question of each kind and print the price; needs GROQ_API_KEY
	@$(BIN)/python -m infrastructure.smoke

install: .venv/.development ## install all locked packages for development

test: .venv/.development ## run all tests that need only pip (T=tests/unit or K="busy session" selects some; WORKERS=0 uses one process)
	@$(COMPILE)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(if $(T),$(T),$(SYSTEM:%=--ignore=%) --ignore=tests/soak) $(if $(K),-k "$(K)")

test-python: .venv/on-$(notdir $(PYTHON))/.development ## run the tests of `make test` on another Python, PYTHON=python3.13 (T=, K= and WORKERS= as there)
	.venv/on-$(notdir $(PYTHON))/bin/python -m pytest -n $(WORKERS) --dist worksteal $(if $(T),$(T),$(SYSTEM:%=--ignore=%) --ignore=tests/soak) $(if $(K),-k "$(K)")

slowest: .venv/.development ## list the twenty slowest tests of `make test`
	@$(MAKE) --no-print-directory test PYTEST_ADDOPTS="--durations=20 --quiet"

# Six workers keep two cores busy, because many tests wait (five took 190 s, six 176, eight 183).
WORKERS ?= 6
# Four workers, because these tests wait even more. No more, because some of them measure: with five,
# each of two whole runs had two or three failures among these.
SYSTEM_WORKERS ?= 4
# Otherwise all workers of a fresh clone would compile the same sources. pytest compiles tests itself.
COMPILE = $(BIN)/python -m compileall -q -j 2 -x '/test_|/helm/' backend deploy infrastructure loadtests tests
SYSTEM := tests/browser tests/deploy tests/system

soak: .venv/.development ## run long tests: thousands of cancelled calls, a thousand turns, random conversations
	$(BIN)/python -m pytest tests/soak
	REPLACING_SEQUENCES=40 $(BIN)/python -m pytest -n 0 --timeout 900 tests/contract/test_replacing.py -k random

check: .venv/.development .venv/npm/.fetched ## lint, formatting, types, import rules, prose; side by side
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target check-types check-prose check-page check-lint check-imports

check-lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

check-types:
	$(BIN)/mypy

check-imports:
	$(BIN)/lint-imports --no-logo

check-prose:
	$(BIN)/python -m infrastructure.prose

check-page:
	$(BIN)/node .venv/npm/typescript/lib/tsc.js --project backend/web

format: .venv/.development ## fix lint and formatting with ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

vendor: .venv/.development ## fetch the three packages of the chat page that infrastructure/packages.json pins
	$(BIN)/python -m infrastructure.npm backend/web/vendor

dashboards: .venv/.development ## write Grafana's files, PANELS.md, the objectives' rules, and the chart's copies of dashboards and rules
	$(BIN)/python -m deploy.dashboards
	$(BIN)/python -m deploy.objectives
	$(BIN)/python -m deploy.chart_files

bench: .venv/.development ## measure the cost of Lex relative to nginx and the obvious service, ten minutes (KEEP=1 keeps the results); needs system-deps
	$(BIN)/python -m loadtests.bench $(if $(KEEP),--keep)

bench-short: .venv/.development ## the same in two minutes, with SQLite (or STORES="redis postgres")
	$(BIN)/python -m loadtests.bench --form short --stores $(or $(STORES),sqlite)

bench-hold: .venv/.development ## hold 5,000 open streams on one worker, of which none may fail; ten minutes
	$(BIN)/python -m loadtests.bench.holding

bench-long: .venv/.development ## check that 50,000 turns, or a long session, do not raise memory and cost; twenty minutes
	$(BIN)/python -m loadtests.bench.long

bench-peers: .venv/.development .venv/peers ## compare LiteLLM's proxy with Lex
	$(BIN)/python -m loadtests.bench.peers

bench-doors: .venv/.development ## measure the CPU of a turn through the AI SDK's, AG-UI's and OpenAI's protocols; at most 5 % above our own
	$(BIN)/python -m loadtests.bench.doors

bench-telemetry: .venv/.development ## measure the CPU of traces, metrics and logs; at most 15 % of a turn
	$(BIN)/python -m loadtests.bench.telemetry

chaos: .venv/.development ## ten minutes of faults under load, then checks of everything acknowledged (MINUTES=3; SEED= repeats a run; POOLER=1 puts PgBouncer before Postgres; REDIS=cluster); needs system-deps
	$(BIN)/python -m loadtests.chaos $(MINUTES:%=--minutes %) $(SEED:%=--seed %) $(if $(POOLER),--pooler) $(REDIS:%=--redis-%)

load: .venv/.development ## run a load test against HOST= (http://localhost:8000), with PROFILE= of loadtests/profiles (smoke)
	$(LOCUST) --headless --only-summary --html $(REPORT); code=$$?; echo "Report: $(REPORT)"; exit $$code

ledger: .venv/.development ## check the ledger of tokens in 20,000 turns against an upstream with its own; ten minutes
	LEDGER_TURNS=20000 $(BIN)/python -m pytest -n 0 --timeout 3600 tests/live/test_ledger.py

drill: .venv/.development ## cause 13 faults in front of a real Prometheus and tell which panels and alerts show them; fifteen minutes (KEEP=1 keeps the table and recordings); needs system-deps
	$(BIN)/python -m loadtests.drill $(if $(KEEP),--keep)

ceilings: .venv/.development ## measure how many turns a second one core of Postgres takes, and one of Redis; three minutes
	$(BIN)/python -m loadtests.ceilings

parts: .venv/.development ## check that the parts of 10,000 turns add up, in every ending; three minutes
	MIXTURE_TURNS=10000 $(BIN)/python -m pytest -n 0 --timeout 3600 tests/live/test_turn_parts.py -k mixture

doors: .venv/.development .venv/npm/.fetched .venv/npm/clients/.installed ## check the streams of 10,000 random turns with the vendors' own clients, for each protocol; two minutes
	DOOR_TURNS=10000 $(BIN)/python -m pytest -n 2 --timeout 3600 tests/system/*/test_random_turns.py

load-ui: .venv/.development ## the same, controlled in a browser on http://localhost:8089
	$(LOCUST) --web-host 127.0.0.1

HOST ?= http://localhost:8000
PROFILE ?= smoke
LOCUST = $(BIN)/python -m locust --config loadtests/profiles/$(PROFILE).conf --host $(HOST)
REPORT = loadtests/reports/$(PROFILE).html

chart: .venv/.development ## write the chart's README from its values
	$(BIN)/python deploy/helm/readme.py

versions: .venv/.development ## copy the version of pyproject.toml to all other files that state it
	$(BIN)/python -m deploy.release.versions
	$(BIN)/python -m tests.deploy.golden

release-check: .venv/.development ## check a release and write its chart, bill of materials and notes to dist/ (TAG=v1.2.3 is strict)
	@$(BIN)/python -m deploy.release $(if $(TAG),--tag "$$TAG")

image: ## build the images lex, groq-standin and lex-load (BASE_IMAGE= changes their base)
	docker build $(BUILD) --build-arg REVISION=$(REVISION) -f deploy/docker/Dockerfile -t lex:$(VERSION) .
	docker build $(BUILD) -f infrastructure/groq_standin/Dockerfile -t groq-standin:$(VERSION) .
	docker build $(BUILD) -f loadtests/Dockerfile -t lex-load:$(VERSION) .

up: image ## start Lex in containers on http://localhost:8000 (WITH="storage replicas observability load", or some of these)
	$(COMPOSE) $(call files,$(WITH)) up --detach --wait
	@$(COMPOSE) $(call files,$(WITH)) logs --no-log-prefix lex | grep "answers come from" | tail -n 1

up-observability: ## the same with Grafana on http://localhost:3001, Prometheus and traces
	@$(MAKE) --no-print-directory up WITH="$(WITH) observability"

down: ## stop all containers; stored data stays
	$(COMPOSE) $(call files,storage replicas observability load) down --remove-orphans

# The last file wins, as for Lex itself.
COMPOSE = docker compose --project-directory infrastructure $(addprefix --env-file ,$(wildcard backend/.env .env))
files = --file infrastructure/compose.yaml $(foreach name,$(sort $(1) $(call exporters,$(1))),--file infrastructure/compose.$(name).yaml)
exporters = $(and $(filter storage,$(1)),$(filter observability,$(1)),exporters)

VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
REVISION = $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo -changed)
BUILD = $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE))

lock: .venv/.development ## resolve and lock the dependencies of pyproject.toml
	$(BIN)/uv pip compile $(UPGRADE) $(LOCKED) pyproject.toml -o requirements/runtime.txt
	$(BIN)/uv pip compile $(UPGRADE) $(LOCKED) pyproject.toml --group dev -c requirements/runtime.txt -o requirements/development.txt
	$(BIN)/uv pip compile $(UPGRADE) $(LOCKED) --group standin -c requirements/runtime.txt -o requirements/standin.txt
	$(BIN)/uv pip compile $(UPGRADE) $(LOCKED) --group load -c requirements/development.txt -o requirements/load.txt
	$(BIN)/uv pip compile $(UPGRADE) $(LOCKED) --group manifests -o requirements/manifests.txt
	$(BIN)/uv pip compile $(UPGRADE) $(LOCKED) --group peers -o requirements/peers.txt
	$(BIN)/uv pip compile $(UPGRADE) $(LOCKED) --group phoenix -o requirements/phoenix.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" npm install --prefix requirements/clients --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund

LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"

system-deps: ## install Debian packages for system tests (needs root)
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends curl nginx-light pgbouncer redis-server faketime chromium prometheus prometheus-alertmanager systemd docker.io docker-compose iptables mmdebstrap

test-system: .venv/.development .venv/manifests .venv/phoenix .venv/npm/.fetched .venv/npm/clients/.installed ## test restarts of real servers, and other programs from Debian
	@$(COMPILE)
	$(BIN)/python -m pytest -n $(SYSTEM_WORKERS) --dist loadscope --no-loadscope-reorder $(if $(T),$(T),$(SYSTEM)) $(if $(K),-k "$(K)")

clean: ## delete the virtual environment and the caches of tests
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Lex needs Python 3.11 or newer: set PYTHON= to one.")'
	$(PYTHON) -m venv .venv

.venv/on-%/.development: requirements/development.txt | .venv/bin/python
	$(PYTHON) -m venv .venv/on-$*
	@.venv/on-$*/bin/python -m infrastructure.install requirements/development.txt
	@touch $@

.venv/.service: requirements/runtime.txt | .venv/bin/python
	@$(BIN)/python -m infrastructure.install requirements/runtime.txt
	@touch $@

.venv/manifests: requirements/manifests.txt | .venv/bin/python
	$(BIN)/python -m venv $@
	@$@/bin/python -m infrastructure.install requirements/manifests.txt
	@touch $@

.venv/npm/.fetched: infrastructure/packages.json | .venv/.development
	$(BIN)/python -m infrastructure.npm .venv/npm
	@touch $@

# Without scripts of packages: nothing that is fetched runs before a test does.
.venv/npm/clients/.installed: requirements/clients/package-lock.json | .venv/.development .venv/npm/.fetched
	mkdir -p $(@D) && cp requirements/clients/package.json requirements/clients/package-lock.json $(@D)
	cd $(@D) && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

.venv/peers: requirements/peers.txt | .venv/bin/python
	$(BIN)/python -m venv $@
	@$@/bin/python -m infrastructure.install requirements/peers.txt
	@touch $@

.venv/phoenix: requirements/phoenix.txt | .venv/bin/python
	$(BIN)/python -m venv $@
	@$@/bin/python -m infrastructure.install requirements/phoenix.txt
	@touch $@

.venv/.development: requirements/development.txt | .venv/bin/python
	@$(BIN)/python -m infrastructure.install requirements/development.txt
	@touch $@ .venv/.service
