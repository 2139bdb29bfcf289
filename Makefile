# The book's actions. Everything runs in .venv, which is set up once and again when the pinned versions change.
PYTHON ?= python3
PORT ?= 8000
BIN := .venv/bin
READY := .venv/.ready
# Tests and short runs want one thread: two such processes then share two cores well.
ONE := OMP_NUM_THREADS=1

.PHONY: book serve pdf test check setup lint clean
.DELETE_ON_ERROR:

book: $(READY)  ## execute stale chapters, build the pages, say where to open them
	$(BIN)/surveylab run
	$(BIN)/surveylab build

serve: book  ## show the book at http://localhost:8000 (PORT=... for another)
	@echo "http://localhost:$(PORT) (Ctrl-C ends it)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory _build/html

pdf: book  ## the whole book as one PDF, which needs a Chromium
	$(BIN)/surveylab build --pdf

test: $(READY) lint  ## everything: unit tests, chapters at smoke, verification, the book twice, re-execution
	$(BIN)/surveylab run --profile smoke
	$(BIN)/surveylab verify --recompute-only
	$(BIN)/surveylab build --force
	$(BIN)/surveylab build --force --output _build/again
	diff -r _build/html _build/again/html
	$(BIN)/python tests/book/reexecute.py
	$(ONE) $(BIN)/pytest

check: $(READY) lint  ## for authors, within three minutes: lint, types, unit tests, every chapter at smoke
	$(BIN)/surveylab run --profile smoke
	$(ONE) $(BIN)/pytest -q -m "not slow"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(READY)

# torch comes first and pinned: without the pin several gigabytes of CUDA packages would come along.
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

clean:  ## remove what was built; the environment stays
	rm -rf _build .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
