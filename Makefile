# make demo and make test do everything on a fresh machine, set-up included.
PYTHON ?= python3
BIN := .venv/bin
SETUP := .venv/.setup.stamp
TYPED := --jaxtyping-packages='opticnerve,beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))'

.PHONY: setup demo test lint types imports docs unit unchecked test-slow bundled family arena bench clean

setup: $(SETUP)

$(SETUP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "opticnerve needs Python 3.11 or later, $(PYTHON) is older: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: setup
	$(BIN)/opticnerve compress examples/images --out demo/tokens --picture --overwrite
	$(BIN)/opticnerve compress examples/images/page.png --all-methods
	$(BIN)/opticnerve ask examples/reading/codes.png --all-methods \
		"What does the green code say?" "Read the code at the bottom right." "Where is the blue diamond?"

test: lint types imports docs unit unchecked

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/basedpyright

imports: setup
	$(BIN)/lint-imports

docs: setup
	NO_MKDOCS_2_WARNING=true $(BIN)/mkdocs build --strict --quiet

# shapes and types are checked at run time (jaxtyping, beartype), which torch.compile does not stand: hence two runs
unit: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q $(TYPED) -m "not unchecked and not slow"

unchecked: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -q -m "unchecked and not slow"

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m slow

# an hour on one core; then copy and score as scripts/bundled_encoder/README.md says
bundled: setup
	$(BIN)/python scripts/bundled_encoder/train.py --minutes 58 --out build/bundled_encoder

# long: see scripts/bundled_family/README.md
family: setup
	$(BIN)/python scripts/bundled_family/train.py --out build/family
	$(BIN)/python scripts/bundled_family/export.py --out build/family

# forty minutes on two quiet cores; stopped, it goes on where it was
arena: setup
	@mkdir -p build/arena
	@begun=$$(date +%s); $(BIN)/opticnerve arena --out build/arena; status=$$?; \
		echo $$(($$(date +%s) - begun)) >> build/arena/seconds; exit $$status
	$(BIN)/python scripts/arena_page.py build/arena --commit "$$(git describe --always --dirty)"

# a quarter of an hour on two quiet cores: close everything else
bench: setup
	$(BIN)/python benchmarks/bench.py --commit "$$(git describe --always --dirty)"
	$(BIN)/python benchmarks/page.py

clean:
	rm -rf .venv site demo build dist
