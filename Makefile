# `make demo` and `make test` create .venv, install and do their job on a machine that has Python 3.10+ and make.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test test-slow test-gpu lint clean

demo: $(VENV)/runtime
	$(RUN) -m birefnet_core demo

test: $(VENV)/development
	$(RUN) -m pytest

test-slow: $(VENV)/development
	$(RUN) -m pytest -m slow

test-gpu: $(VENV)/development
	$(RUN) -m pytest -rs tests -k on_gpu

lint: $(VENV)/development
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf $(VENV) demo-output

# uv fetches torch and torchvision, one matching pair, in half a minute where pip takes several.
$(VENV)/runtime: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.11")'
	$(RUN) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check uv
	$(RUN) -m uv pip install --quiet --python $(RUN) -r requirements.txt
	touch $@

$(VENV)/development: $(VENV)/runtime train/requirements.txt
	$(RUN) -m uv pip install --quiet --python $(RUN) -r train/requirements.txt pytest ruff
	touch $@
