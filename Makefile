# make demo, make test: the two commands. Each first installs what is missing; a second run installs nothing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.NOTPARALLEL:
.PHONY: demo test lint benchmark view clean

demo: $(VENV)/.demo
	$(BIN)/consilience demo --out demo

test: $(VENV)/.test
	$(BIN)/python -m pytest

benchmark: $(VENV)/.test
	$(BIN)/python -m consilience.evals.benchmarks

lint: $(VENV)/.test view
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p consilience

# Each stamp stands for an extra that is installed; 'test' brings 'demo'.
$(VENV)/.demo $(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); the first time takes minutes"
	$(BIN)/python -m pip install --quiet --editable '.[$(patsubst .%,%,$(notdir $@))]'
	touch $(if $(filter %.test,$@),$(VENV)/.demo) $@

# Type checkers cannot follow an editable install of folders that are called differently: links show them the package.
view:
	rm -rf view && mkdir -p view/consilience
	cd view/consilience && ln -s ../../core/* . && for room in agents evals frontends orchestrator prompts retrieval; do \
		ln -s ../../$$room $$room; done

clean:
	rm -rf $(VENV) view build dist demo .pytest_cache .mypy_cache .ruff_cache
