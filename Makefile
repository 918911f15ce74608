# Two commands for a fresh machine: `make demo` and `make test`. Nothing but Python 3.11 or newer is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test data clean

demo: data
	$(BIN)/hotlap tune --python $(BIN)/python examples/images.py

test: data
	tools/check

data: $(STAMP)
	$(BIN)/python examples/prepare.py

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hotlap needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3."; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' || \
		{ echo "$(PYTHON) has no venv module. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch numpy
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[examples]' --group dev
	@touch $@

clean:
	rm -rf $(VENV) .hotlap examples/data hotlap.toml
