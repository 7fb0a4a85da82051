# `make quickstart` and `make test` do all set-up themselves; PYTHON=python3.12 chooses the interpreter.
VENV := $(abspath $(or $(VENV),.venv))
INSTALLED := $(VENV)/.installed
export VENV

.PHONY: help quickstart test check setup clean

help:
	@echo "make quickstart   install, then pretrain, export, evaluate and draw, no data needed"
	@echo "make test         install, then run the tests"
	@echo "make check        install, then check format, lint and types"
	@echo "make clean        remove the environment and caches; runs/ stays"

quickstart: $(INSTALLED)
	$(VENV)/bin/tgp quickstart

test: $(INSTALLED)
	scripts/test

check: $(INSTALLED)
	scripts/check

setup: $(INSTALLED)

# Runs again only when what is installed has changed.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "Installing into $(VENV): torch and its companions, some minutes the first time"
	scripts/setup

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
