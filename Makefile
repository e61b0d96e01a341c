# make demo, make test: the two commands. `make setup` is their first step; a second run of any installs nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: setup view test lint demo benchmark clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

demo: setup
	$(BIN)/consilience demo --out demo

test: setup
	$(BIN)/python -m pytest

benchmark: setup
	$(BIN)/python -m consilience.evals.benchmarks

lint: setup view
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=view $(BIN)/mypy -p consilience

# Type checkers cannot follow an editable install of folders that are called differently: links show them the package.
view:
	rm -rf view && mkdir -p view/consilience
	cd view/consilience && ln -s ../../core/* . && for room in agents evals frontends orchestrator prompts retrieval; do \
		ln -s ../../$$room $$room; done

clean:
	rm -rf $(VENV) view build dist demo .pytest_cache .mypy_cache .ruff_cache
