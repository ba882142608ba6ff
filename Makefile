# Every target creates the environment when it is absent. These are the commands that CI runs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   ?= ../shared/data

.PHONY: demo test test-slow lint bench results readme clean

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

# The figures of the README and the docs: hours on two cores; a run that is stopped goes on where it was.
bench results: $(VENV)/installed
	$(BIN)/honeyguard benchmark src/honeyguard/benchmark/demo.toml --output results/demo.json --workers 2
	$(BIN)/honeyguard benchmark src/honeyguard/benchmark/demo.toml --seeds 5 --seeds 6 --seeds 7 --seeds 8 --seeds 9 --output results/unseen_seeds.json --workers 2
	$(BIN)/honeyguard benchmark benchmarks/clean_queries.toml --output results/clean_queries.json --workers 2
	$(BIN)/honeyguard benchmark benchmarks/fashion_mnist.toml --output results/fashion_mnist.json --data-root $(DATA) --workers 2
	$(BIN)/honeyguard benchmark benchmarks/cifar10.toml --output results/cifar10.json --data-root $(DATA) --workers 2
	for suite in digits fashion_mnist; do \
	  $(BIN)/honeyguard benchmark benchmarks/honeypot/$$suite.toml --output results/honeypot/$$suite.json --data-root $(DATA) --workers 2 || exit 1; \
	done
	for suite in digits fashion_mnist cifar10 laundering; do \
	  $(BIN)/honeyguard benchmark benchmarks/attacks/$$suite.toml --output results/attacks/$$suite.json --data-root $(DATA) --workers 2 || exit 1; \
	done
	$(BIN)/python -m pip install --quiet --editable ".[rivals]"
	for script in rivals speed data_free equivalent; do \
	  $(BIN)/python benchmarks/attacks/$$script.py --output results/attacks/$$script.json || exit 1; \
	done

readme: $(VENV)/installed
	$(BIN)/python tools/readme.py

$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Honeyguard needs Python 3.11 or newer")'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) runs demo
