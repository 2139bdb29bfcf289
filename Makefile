# The book's actions. Everything runs in .venv, which is set up once and again when the pinned versions change.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
LAB_READY := .venv/.ready-lab
DATA_READY := .venv/.ready-data
# Once for each environment. Where data cannot be had, only the chapters that need it are affected.
DATA = @test $(DATA_READY) -nt $(READY) || $(MAKE) --no-print-directory data || \
  echo 'make: going on without it' >&2
# One process a core, each on one thread.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist loadscope
# Says at the end of each part of `make test` how long it took.
PART := @$(BIN)/python tests/part.py
# Minutes in which `make test` begins to execute published chapters again: the newest first, the others by turns.
REEXECUTE ?= 20

.PHONY: book data serve lab pdf test verify check setup lint hooks audit clean
.DELETE_ON_ERROR:

book: $(READY)  ## execute stale chapters, build the pages, say where to open them
	$(DATA)
	$(BIN)/surveylab run
	$(BIN)/surveylab build

data: $(READY)  ## fetch and prepare the data that no package carries, with progress
	@$(BIN)/python -m surveylab.lab.data
	@touch $(DATA_READY)

serve: PORT ?= 8000
serve: book  ## show the book at http://localhost:8000 (PORT=... for another)
	@echo "http://localhost:$(PORT) (Ctrl-C ends it)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

# Root, as in a container, must ask for what others may do.
lab: PORT ?= 8888
lab: $(LAB_READY)  ## open the chapters' sources in JupyterLab (PORT=..., NO_BROWSER=1)
	@$(BIN)/jupyter lab --port=$(PORT) --LabApp.default_url=/lab/tree/notebooks \
	  --ServerApp.log_level=WARN $(if $(NO_BROWSER),--no-browser) $(if $(filter 0,$(shell id -u)),--allow-root)

pdf: book  ## the whole book as one PDF, which needs a Chromium
	$(BIN)/surveylab build --pdf

test: $(READY)  ## everything: lint, chapters at smoke, verification, the book twice, re-execution, tests
	$(DATA)
	$(PART) lint $(MAKE) --no-print-directory lint
	$(PART) smoke $(BIN)/surveylab run --profile smoke
	$(PART) recomputation $(BIN)/surveylab verify --recompute-only
	$(PART) "two builds" $(MAKE) --no-print-directory -j2 _build/html _build/again/html
	diff -r _build/html _build/again/html
	$(PART) re-execution $(BIN)/python tests/book/reexecute.py --minutes $(REEXECUTE)
	$(PART)
	$(PYTEST)

.PHONY: _build/html _build/again/html
_build/html:
	$(BIN)/surveylab build --force
_build/again/html:
	$(BIN)/surveylab build --force --output _build/again

verify: $(READY)  ## execute all published chapters again and compare: claim by claim, then output by output
	$(BIN)/surveylab verify
	$(BIN)/python tests/book/reexecute.py

check: $(READY) lint  ## for authors, within three minutes: lint, types, unit tests, every chapter at smoke
	$(BIN)/surveylab run --profile smoke
	$(PYTEST) -q -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(READY)

hooks: $(READY)  ## let git run the checks: lint before a commit, `make check` before a push
	$(BIN)/pre-commit install

audit: $(READY)  ## look the pinned packages up among known vulnerabilities (asks a database on the network)
	@test -x $(BIN)/pip-audit || $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[audit]'
	$(BIN)/python tests/audit.py

# torch comes first: where a small build without CUDA is offered under this version, pip takes it, and what asks for
# torch later finds it there.
$(READY): constraints.txt pyproject.toml tests/reference.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is $$($(PYTHON) --version 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.12" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || { \
	  echo "make: no virtual environment could be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }
	@echo 'make: setting up .venv, a few minutes'
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt torch==$$(sed -n 's/^torch==//p' constraints.txt)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt --no-deps -r tests/reference.txt
	@touch $@

$(LAB_READY): $(READY)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[lab]'
	@touch $@

clean:  ## remove what was built; the environment stays
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
