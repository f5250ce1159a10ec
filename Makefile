# Everything a person or CI runs. `make serve` and `make test` install what they need first.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RECIPES := .cache/recipes
CLIENTS := .cache/clients
CLIENT_PINS := tests/clients/requirements
GATEWAYS := .cache/gateways
GATEWAY_PINS := benchmarks/gateways/requirements
NODE_MODULES := tests/clients/node/node_modules
TRANSFORMERS_5 := .cache/transformers-5
SCHEMAS := .cache/schemas
QUICK := -m "not full and not slow" --hypothesis-profile quick
AGAIN := --reruns 1 -r aR
SLOW := -m "slow and not full" --hypothesis-profile ci

.PHONY: help serve shop test test-slow test-full clients gateways check format docs bench bench-guide \
	mini dist clean

help:
	@echo "serve      set up, and serve the bundled model on http://127.0.0.1:8000"
	@echo "shop       set up, and open a shop that describes its products on http://127.0.0.1:8100"
	@echo "test       set up, and run the tests (under 20 minutes on two cores)"
	@echo "test-slow  the tests that CI runs after those: dear ones, and the campaign of faults"
	@echo "test-full  all tests and the long campaigns; TESTS= picks some, SEED= replays one"
	@echo "clients    install the clients that the tests of docs/clients.md run (2 GB)"
	@echo "gateways   install the gateways that benchmarks/gateways compares with (1 GB)"
	@echo "check      formatting, lint, types, import rules"
	@echo "format     format the code"
	@echo "docs       write docs/configuration.md and docs/errors.md anew from the code"
	@echo "bench      measure the gateway, the engine and the naive design side by side"
	@echo "bench-guide  a guide's claims on INT8, batching, attention and students, beside ours"
	@echo "mini       train and export the bundled model again (recipes/mini)"
	@echo "dist       build the wheel and the sdist into dist/"
	@echo "clean      remove what the above made"

serve: $(VENV)/.serve
	$(BIN)/silkline up

shop: $(VENV)/.shop
	$(BIN)/python -m examples.shop up

# Two processes share the tests. Property tests draw the same examples each time here, new ones in
# `test-full`.
test: $(VENV)/.dev
	$(BIN)/pytest $(QUICK) $(AGAIN) --ignore tests/campaign --numprocesses 2 --dist loadfile

# The campaign loads whole servers and has the machine to itself. On a crowded machine, a server can
# miss a test's deadline: a test that fails runs once more, and is listed among the reruns.
test-slow: $(VENV)/.dev $(TRANSFORMERS_5)/.ready
	$(BIN)/pytest $(SLOW) $(AGAIN) --ignore tests/campaign --numprocesses 2 --dist loadfile
	$(BIN)/pytest -m "not full" $(AGAIN) --hypothesis-profile ci tests/campaign

test-full: $(VENV)/.dev $(TRANSFORMERS_5)/.ready $(SCHEMAS)/.ready $(if $(TESTS),,clients)
	$(BIN)/pytest $(TESTS)

# The families that need it are tested with transformers 5; the exporter needs 4.
$(TRANSFORMERS_5)/.ready: tests/engines/torch/transformers-5.txt $(VENV)/.dev
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $(@D) \
		--requirement $<
	@touch $@

# Not installed: only the cases in the archive are needed.
$(SCHEMAS)/.ready: $(VENV)/.dev tests/engines/grammar/suite.txt
	mkdir -p $(@D)
	$(BIN)/python -m pip download --quiet --no-deps --no-binary jsonschema --dest $(@D) \
		--requirement tests/engines/grammar/suite.txt
	tar -xzf $(@D)/jsonschema-*.tar.gz --strip-components 1 -C $(@D)
	@touch $@

# A virtual environment for each client: they need different versions of the same packages.
clients: $(VENV)/.dev $(NODE_MODULES)/.package-lock.json \
		$(patsubst $(CLIENT_PINS)/%.txt,$(CLIENTS)/%/.ready,$(wildcard $(CLIENT_PINS)/*.txt))

$(CLIENTS)/%/.ready: $(CLIENT_PINS)/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

# Each with the versions in its file and nothing else; nginx comes from the system.
gateways: $(VENV)/.dev \
		$(patsubst $(GATEWAY_PINS)/%.txt,$(GATEWAYS)/%/.ready,$(wildcard $(GATEWAY_PINS)/*.txt))

$(GATEWAYS)/%/.ready: $(GATEWAY_PINS)/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	@touch $@

$(NODE_MODULES)/.package-lock.json: tests/clients/node/package-lock.json $(CLIENTS)/node/.ready
	cd $(<D) && PATH="$(abspath $(CLIENTS)/node/bin):$$PATH" \
		npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.serve
	$(BIN)/python -m scripts.reference_pages

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks.serving

bench-guide: $(VENV)/.dev
	$(BIN)/python -m benchmarks.guide

mini: $(RECIPES)/.ready
	$(RECIPES)/bin/python -m recipes.mini.train --out .cache/mini
	$(RECIPES)/bin/python -m recipes.mini.export --model .cache/mini/model
	$(RECIPES)/bin/python -m recipes.mini.evaluate --write

dist: $(VENV)/.dev
	$(BIN)/python -m build

$(RECIPES)/.ready: recipes/mini/requirements.txt
	$(PYTHON) -m venv $(RECIPES)
	$(RECIPES)/bin/python -m pip install --requirement recipes/mini/requirements.txt
	@touch $@

$(VENV)/.serve: pyproject.toml constraints.txt scripts/setup
	scripts/setup "$(PYTHON)" "$(VENV)" serve
	@touch $@

$(VENV)/.shop: examples/shop/requirements.txt $(VENV)/.serve
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--requirement $<
	@touch $@

$(VENV)/.check: pyproject.toml constraints.txt scripts/setup
	scripts/setup "$(PYTHON)" "$(VENV)" check
	@touch $(VENV)/.serve $@

$(VENV)/.dev: pyproject.toml constraints.txt scripts/setup
	scripts/setup "$(PYTHON)" "$(VENV)" dev
	@touch $(VENV)/.serve $(VENV)/.check $@

clean:
	rm -rf "$(VENV)" $(CLIENTS) $(GATEWAYS) $(TRANSFORMERS_5) $(SCHEMAS) $(NODE_MODULES) \
		.mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
