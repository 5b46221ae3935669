# make demo | make test | make serve | make drills | make drills-cluster | make drills-serve | make load | make bench | make bench-quick | make browser | make lock
PYTHON ?= $(shell for p in python3 python3.12 python3.11; do $$p -c 'import sys; raise SystemExit(not (3,11) <= sys.version_info[:2] <= (3,12))' 2>/dev/null && echo $$p && break; done)
FAISS ?= cpu
OUT ?= out/demo
SIZE ?= small
PORT ?= 8000

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(FAISS)

.PHONY: install demo serve test lint drills drills-cluster drills-serve load bench bench-quick browser lock clean

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found: install one, or give make PYTHON=/path/to/python"; exit 2; }
	@echo "Installing into $(VENV) (7 GB on disk, a few minutes) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$(FAISS),dev]"
	@touch $(STAMP)

demo: install
	$(BIN)/python jobs/pipeline.py data=motions model=tf-covr-base-tiny data.size=$(SIZE) out=$(OUT)

serve: install
	$(BIN)/python -m serve out=$(OUT) serve.port=$(PORT)

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -q

drills: install
	$(BIN)/python -m pytest -q -m drill --ignore=tests/cluster

drills-cluster: install    # several nodes on this machine; needs PostgreSQL's programs and redis-server
	$(BIN)/python -m pytest -q -m drill tests/cluster

drills-serve: install    # prints a line of the table in docs/serving.md for each
	$(BIN)/python -m pytest -q -s -m drill tests/serve/test_serve_drills.py tests/serve/test_autoscaling.py

load: install
	$(BIN)/python -m pytest -q -m load

bench: install
	$(BIN)/python -m pytest -q -m bench

browser: install    # the system's chromium, else what `.venv/bin/playwright install chromium` fetched
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$(FAISS),browser]"
	$(BIN)/python -m pytest -q -m browser

bench-quick: install
	$(BIN)/python benchmarks/embed_stages.py --pairs 2
	$(BIN)/python benchmarks/train_step.py --pairs 3 --steps 100
	$(BIN)/python benchmarks/rerun.py

lock: install
	{ sed -n '/^#/p' requirements.lock; $(BIN)/python -m pip freeze --exclude-editable | grep -v '^faiss'; } > requirements.lock.new
	mv requirements.lock.new requirements.lock

clean:
	rm -rf out .pytest_cache .mypy_cache .ruff_cache
