# make test     everything that must pass: lint, types, tests
# make demo     a real photograph, encoded and decoded; see demo/strip.png
# make man      man pages of the commands, in build/man
# make venv     only the environment, in .venv
# make results  docs/RESULTS.md: KODAK=DIR DEV=DIR, and WEIGHTS="NAME NAME" if not all of the box
# make speed    the benchmark for it: KODAK=DIR; nothing else should run
# make fuzz     the container parser and the decoder, FUZZ_SECONDS each; stops at a crash
# make bench    docs/PERFORMANCE.md: speed and memory by size, threads and part; nothing else should run

# The first torch to be installed decides how much is downloaded: pinned, it is the one that was
# tested; unpinned, pip may pull gigabytes of GPU libraries. Another one: make TORCH=torch==2.9.0
TORCH ?= torch==2.13.0
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

WEIGHTS ?= compact-mse compact-msssim
MEASURED := measured

# For each of the two targets.
FUZZ_SECONDS ?= 300

# Half an hour on two cores. Less: make bench BENCH="--megapixels 0.4,3"
BENCH ?=

.PHONY: all bench venv test lint demo man results speed fuzz clean
all: test

venv: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	$(BIN)/python -m pip install --quiet -e ".[dask,dev,eval]"
	touch $@

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

demo: $(STAMP)
	$(BIN)/python scripts/demo.py --output demo

man: $(STAMP)
	$(BIN)/python scripts/build_man.py --output build/man

results: $(STAMP)
	$(if $(and $(KODAK),$(DEV)),,$(error KODAK and DEV are folders of images))
	mkdir -p $(MEASURED)
	$(BIN)/rnncodec eval $(KODAK) $(addprefix --weights ,$(WEIGHTS)) \
		--json $(MEASURED)/kodak.json --report $(MEASURED)/kodak
	$(BIN)/rnncodec eval $(DEV) $(addprefix --weights ,$(WEIGHTS)) --json $(MEASURED)/dev.json
	$(BIN)/python scripts/write_results.py --kodak $(MEASURED)/kodak.json \
		--dev $(MEASURED)/dev.json $(addprefix --cold ,$(wildcard $(MEASURED)/cold.json))

speed: $(STAMP)
	$(if $(KODAK),,$(error KODAK is the folder of kodim01.png))
	mkdir -p $(MEASURED)
	$(BIN)/python benchmarks/cold.py $(KODAK)/kodim01.png --json $(MEASURED)/cold.json

bench: $(STAMP)
	mkdir -p $(MEASURED)
	$(BIN)/python benchmarks/speed.py --json $(MEASURED)/speed.json $(BENCH)
	$(BIN)/python benchmarks/growth.py --json $(MEASURED)/growth.json
	$(BIN)/python benchmarks/engines.py --json $(MEASURED)/engines.json
	$(BIN)/python scripts/write_performance.py --bench $(MEASURED)/speed.json \
		--growth $(MEASURED)/growth.json \
		--engines $(MEASURED)/engines.json \
		$(addprefix --int8 ,$(wildcard $(MEASURED)/int8.json)) \
		$(addprefix --paired ,$(wildcard $(MEASURED)/paired*.json))

# What is found goes to fuzz/found, and from there by hand to fuzz/corpus (-merge=1) or fuzz/crashes.
fuzz: $(STAMP)
	$(BIN)/python -m pip install --quiet -e ".[fuzz]"
	for target in container decoder; do \
		mkdir -p fuzz/found/$$target && \
		$(BIN)/python -m fuzz.run $$target fuzz/found/$$target fuzz/corpus/$$target \
			-max_total_time=$(FUZZ_SECONDS) -artifact_prefix=fuzz/found/$$target- || exit 1; \
	done

clean:
	rm -rf fuzz/found $(VENV) demo $(MEASURED) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
