# make demo    from nothing to a trained, measured model and a prediction, on data that pip has brought
# make test    the tests, on two processes     (make test ARGS='-k sources' for some of them; CI=1 make test for the slow ones, too)
# make lint    ruff, pyright, who imports whom
# make bench   peers measured beside us
# Everything runs in .venv, which is made on first use and again when pyproject.toml changes.

PYTHON ?= python3
VENV := $(CURDIR)/.venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := $(CURDIR)/build/demo
ARGS ?=

.PHONY: demo test bench lint clean

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[all,dev]'
	touch $@

demo: $(INSTALLED)
	rm -rf $(DEMO) && mkdir -p $(DEMO)
	cd $(DEMO) && $(BIN)/liandan data get digits digits
	cd $(DEMO) && $(BIN)/liandan train digits/ run.dir=runs/demo
	cd $(DEMO) && $(BIN)/liandan evaluate last --json
	cd $(DEMO) && $(BIN)/liandan predict last digits/3/0003.png
	@echo
	@echo "The run lies in build/demo/runs/demo: plots/curves.png, evaluation/val/confusion.png, metrics.csv, checkpoints/."
	@echo "Next, from build/demo with .venv/bin on the path:"
	@echo "  liandan runs show last"
	@echo "  liandan train digits/ optimizer.lr=1e-3 name=slower && liandan compare demo slower"
	@echo "  liandan train YOUR_PHOTOS/        a folder with a folder of images for each class"

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(if $(CI),,-m 'not slow') $(ARGS)

bench: $(INSTALLED)
	$(BIN)/python -m bench $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	PATH=$(BIN):$$PATH $(BIN)/pyright
	$(BIN)/lint-imports

clean:
	rm -rf build dist runs digits .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
