# Each target sets up what it needs on a machine that has only Python 3.11 or newer, and make.
PYTHON ?= python3
BIN    := .venv/bin
UV     := $(BIN)/uv
RUN    := $(UV) run --frozen --all-extras
TEST   := --no-dev --group test pytest -n auto --dist worksteal
COVER  := -p tests.cover
Q      ?=
T      ?=
# the system's certificates, as pip uses them: a network may have its own authority
export UV_SYSTEM_CERTS ?= 1
# tests start Python some hundred times; without compiled files each start compiles all libraries anew
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo demo-local test soak lint types check format readme docs pictures notebooks bench build lowest newest pythons lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(UV):
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "uv>=0.9"

demo: export QUESTION := $(or $(value Q),What are 3 fun things to do in SF?)
demo: export LANGCHAIN_MOA_LOG := 0
demo: $(UV) ## answer a question with four reference models and an aggregator (Q="...")
	@$(UV) run --frozen --inexact --extra cli --no-dev --quiet langchain-moa ask $$(test "$$TOGETHER_API_KEY" || echo --demo) --show-proposals \
	  --verbose -- "$$QUESTION"

demo-local: export QUESTION := $(or $(value Q),What is the capital of France?)
demo-local: $(UV) ## the same with a real, tiny model on this machine, without a key (Q="...")
	@$(UV) run --frozen --inexact --extra cli --extra local --no-dev --group real --quiet langchain-moa ask --local --show-proposals \
	  --verbose -- "$$QUESTION"

test: $(UV) ## run all tests, and see 95 % of the core's branches covered; or some (T="tests/unit_tests -k quorum")
	$(RUN) $(TEST) $(or $(T),$(COVER))
	@$(if $(T),,$(RUN) --no-dev --group test python tests/branch_coverage.py .coverage)

soak: $(UV) ## run the tests that take minutes by their nature
	$(RUN) $(TEST) -m soak $(T)

lint: $(UV) ## lint, format, spelling, import contracts, unused dependencies
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) codespell *.md docs .github langchain_moa --skip "*.svg"
	$(RUN) lint-imports
	$(RUN) deptry .

types: $(UV) ## strict types of package and tests
	$(RUN) mypy

check: test lint types docs build ## everything that the gate runs

format: $(UV) ## format the code and correct what can be corrected
	$(RUN) ruff check --fix
	$(RUN) ruff format

readme: $(UV) ## write what pages tell of the code: help, settings, rooms, outputs
	@for page in settings_table cli_help rooms documents; do \
	  $(RUN) --no-dev --group test python -m tests.$$page || exit 1; done

docs: $(UV) ## build the documentation's site in site/
	NO_MKDOCS_2_WARNING=1 $(RUN) mkdocs build --strict --quiet

pictures: $(UV) ## draw the README's pictures from real runs
	$(RUN) --no-dev --group test python -m tests.pictures

notebooks: $(UV) ## execute the notebooks and keep their outputs
	$(RUN) --no-dev --group test python -m tests.notebooks

bench: $(UV) ## measure against plain LangChain and peers, side by side (B="--quick --scenario A")
	$(RUN) --no-dev --group bench python -m benchmarks $(B)

build: $(UV) ## build the wheel and import it in an empty environment
	rm -rf dist
	$(UV) build --quiet
	$(UV) run --quiet --isolated --no-project --with dist/*.whl \
	  python -P -c "from langchain_moa import MoAChatModel, ChatMoA, create_moa_graph"

lowest: $(UV) ## run the tests with the lowest allowed versions
	$(UV) venv --quiet --clear .venv-lowest
	$(UV) pip install --quiet --python .venv-lowest --resolution lowest-direct --group test -e ".[all,local]"
	.venv-lowest/bin/pytest -n auto --dist worksteal -q

newest: $(UV) ## run the tests with the newest versions that resolve
	$(UV) venv --quiet --clear .venv-newest
	$(UV) pip install --quiet --python .venv-newest --resolution highest --group test -e ".[all,local]"
	.venv-newest/bin/pytest -n auto --dist worksteal -q

pythons: $(UV) ## run the tests on every supported Python that is installed
	@for version in 3.11 3.12 3.13; do \
	  $(UV) python find --no-python-downloads $$version >/dev/null 2>&1 \
	    || { echo "Python $$version is not installed"; continue; }; \
	  UV_PROJECT_ENVIRONMENT=.venv-$$version $(RUN) --python $$version $(TEST) -q || exit 1; \
	done

lock: $(UV) ## renew the lock file
	$(UV) lock --upgrade

clean: ## remove what the targets made
	rm -rf .venv* dist build site .coverage* .*_cache .hypothesis .benchmarks
