# make reproduce | test | lint | golden | torture | lab | env | bench | clean
#   PAPER="joint neid"   papers (default: all); make -j2 reproduces two side by side
#   DATASET=             data sets (default: built-in ones; with PROFILE=paper the paper's own, with
#                        PROFILE=reference and DATA LOL for papers 3 to 5)
#   PROFILE=quick        smoke, quick, reference, paper
#   SEEDS="0 1 2"        one run a seed (default: the profile's: 0, in reference often 0 1 2)
#   DATA=                folder of the data set
#   SETTINGS='{ratios: ["1:0", "3:1"]}'   any setting of the paper, as YAML
#   LAUNCH="srun -n1 --gpus=1 -c8"        a prefix for each notebook's command
#   PYTHON=python3.12    the Python that makes .venv (default: the one that made it, or python3)

# Exported as they are given: neither make nor a shell expands them.
$(foreach name,PAPER DATASET PROFILE SEEDS DATA SETTINGS LAUNCH PYTHON,$(if $(filter-out undefined,\
  $(origin $(name))),$(eval override $(name) := $$(value $(name)))$(eval export $(name))))

# An active conda environment named llie is used as it is; otherwise .venv is made.
ifeq ($(lastword $(subst /, ,$(value CONDA_PREFIX))),llie)
FOLDER := $(value CONDA_PREFIX)
override PYTHON := $(FOLDER)/bin/python
else
FOLDER := .venv
PYTHON ?= $(or $(shell .venv/bin/python -c 'import sys; print(sys._base_executable)' \
  2>/dev/null),python3)
endif
export FOLDER PYTHON
# Modules, not scripts: a script names the folder in which it was installed.
RUN := "$$FOLDER/bin/python" -m

.PHONY: reproduce test lint test-python test-notebooks golden torture lab env bench clean

reproduce: env
	@exec $(RUN) llie_core.reproduce

env:
	@command -v "$$PYTHON" >/dev/null || { echo "make: $$PYTHON not found; set PYTHON=" >&2; exit 1; }; \
	"$$PYTHON" llie_core/environment.py "$$FOLDER"

# Uploads of up to 100 MB reach a notebook, which by default may have 10.
lab: env
	$(RUN) jupyterlab notebooks --ServerApp.tornado_settings='{"websocket_max_message_size": 140000000}'

bench: env
	$(RUN) llie_core.cli bench

# Tests ----------------------------------------------------------------------------------------
test: lint test-python test-notebooks

lint: env
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

test-python: env
	$(RUN) pytest -n 2 --dist loadfile --cov --cov-report=term

ASIDE := results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && \
	export LLIE_RESULTS="$$results" LLIE_REPORTS="$$results" JUPYTER_PREFER_ENV_PATH=1 &&
# The notebooks are run afresh; the text of their tagged cells must be what is stored.
test-notebooks: env
	@$(ASIDE) $(RUN) pytest --nbval-lax --nbval-current-env -p no:cacheprovider \
	  --nbval-sanitize-with tests/nbval.cfg notebooks

# After a change that is meant to alter golden outputs: run, store, and read the diff.
golden: env
	@$(ASIDE) "$$FOLDER/bin/python" tests/store_golden.py notebooks/*.ipynb

# Kills, full disks, damaged and hostile files, two at once: long, and not part of `test`.
torture: env
	$(RUN) pytest -p no:cacheprovider tests/torture/trial.py

# Removes what was generated, not the environment and not results/reference.
clean:
	find results reports -mindepth 1 -maxdepth 1 ! -name reference ! -name .gitkeep -exec rm -rf {} +
