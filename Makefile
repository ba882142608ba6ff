# Every target creates the environment when it is absent. These are the commands that CI runs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?= ../shared/data

.PHONY: demo test test-slow lint bench audit results readme clean

demo: $(VENV)/installed
	rm -rf demo
	$(BIN)/honeyguard demo --output demo

test: $(VENV)/installed lint
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not slow"

test-slow: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/pytest -m slow -n 0

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The figures of the README and the docs: hours on two cores; a run that is stopped goes on where it was. results/X.json comes from benchmarks/X.
SUITES  := $(patsubst benchmarks/%.toml,%,$(wildcard benchmarks/*.toml benchmarks/*/*.toml))
SCRIPTS := $(patsubst benchmarks/%.py,%,$(shell grep -l 'cyclopts.run(main)' benchmarks/*/*.py))

results: $(VENV)/installed
	$(BIN)/honeyguard benchmark src/honeyguard/benchmark/demo.toml --output results/demo.json --workers 2
	$(BIN)/honeyguard benchmark src/honeyguard/benchmark/demo.toml --seeds 5 --seeds 6 --seeds 7 --seeds 8 --seeds 9 --output results/unseen_seeds.json --workers 2
	for suite in $(SUITES); do \
	  $(BIN)/honeyguard benchmark benchmarks/$$suite.toml --output results/$$suite.json --data-root $(DATA) --workers 2 || exit 1; \
	done
	for script in $(SCRIPTS); do \
	  $(BIN)/python benchmarks/$$script.py --output results/$$script.json $$(grep -q data_root benchmarks/$$script.py && echo --data-root $(DATA)) || exit 1; \
	done

# Known vulnerabilities of what is installed; it asks the advisory database, so it needs the network.
audit: $(VENV)/installed
	$(PYTHON) -m venv runs/audit-venv
	runs/audit-venv/bin/python -m pip install --quiet pip-audit
	runs/audit-venv/bin/pip-audit --path $(VENV)/lib/python*/site-packages

# Speed beside a rival's and cost in the served graph, one thread: minutes.
bench: $(VENV)/installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/bench/perturbation.py --output results/bench/perturbation.json

readme: $(VENV)/installed
	$(BIN)/python tools/readme.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Honeyguard needs Python 3.11 or newer")'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs demo
