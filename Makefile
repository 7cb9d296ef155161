# make reproduce | test | lab | env | bench | clean
#   PAPER=joint        one paper (default: all that can be run)
#   DATASET=, PROFILE=quick, SEEDS="0 1 2", DATA=/folder/of/the/data/set
#   SETTINGS='{ratios: ["1:0", "3:1"]}'   any setting of the recipe, as YAML
#   LAUNCH="srun -n1 --gpus=1 -c8"        a prefix for each notebook's command

PAPERS  := recognition joint jcrnet drgn neid
PAPER   ?= $(PAPERS)
PROFILE ?= quick
SEEDS   ?= 0
DATA    ?=
SETTINGS ?= {}
LAUNCH  ?=
# One report a paper and data set. Without DATASET= they are these; PROFILE=paper has the papers' own.
DATASETS_recognition := builtin-streets builtin-streets-pose
DATASETS_recognition_paper := nightcity exlpose
DATASETS_joint := builtin-faces
DATASETS_joint_paper := wider-face
DATASETS_jcrnet := builtin-photos
DATASETS_jcrnet_paper := lol
DATASETS_drgn := builtin-photos
DATASETS_drgn_paper := lol
DATASETS_neid := builtin-photos
DATASETS_neid_paper := lol

# An active conda environment named llie is used as it is; otherwise .venv is made.
ifeq ($(notdir $(CONDA_PREFIX)),llie)
BIN := $(CONDA_PREFIX)/bin
STAMP := $(CONDA_PREFIX)/.llie-complete
else
BIN := .venv/bin
STAMP := .venv/.llie-complete
endif
# As in llie_core/cli.py; in notebooks that JupyterLab or a test starts as well.
export GOMP_SPINCOUNT ?= 20000
# With -j4, each of four notebooks side by side gets a quarter of the cores. LAUNCH has its own way,
# and so has who sets OMP_NUM_THREADS.
JOBS = $(patsubst -j%,%,$(filter-out -j -j1,$(filter -j%,$(MAKEFLAGS))))
CORES = $$(getconf _NPROCESSORS_ONLN)
SHARE = $(if $(JOBS),$(if $(LAUNCH)$(OMP_NUM_THREADS),,OMP_NUM_THREADS=$$(( ($(CORES) + $(JOBS) - 1) / $(JOBS) )) ))
PYTHON ?= python3
FACENET := facenet-pytorch==2.6.0

datasets_of = $(or $(DATASET),$(DATASETS_$(1)_$(PROFILE)),$(DATASETS_$(1)))
paper_of = $(firstword $(subst -, ,$(1)))
dataset_of = $(patsubst $(call paper_of,$(1))-%-$(PROFILE),%,$(1))
REPORTS := $(foreach paper,$(PAPER),$(foreach set,$(call datasets_of,$(paper)),\
  reports/$(paper)-$(set)-$(PROFILE).html))
SOURCES := $(shell find llie_core -name '*.py' -o -name '*.toml' -o -name '*.csv' -o -name '*.j2' -o -name '*.css')

.PHONY: reproduce test test-python test-notebooks lint golden lab env bench clean FORCE
.SECONDARY:
.DELETE_ON_ERROR:

reproduce: $(REPORTS) reports/summary-all-$(PROFILE).html
	@echo "reports: $(CURDIR)/reports/index.html"

# The environment ------------------------------------------------------------------------------
env: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; set PYTHON=" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@# facenet-pytorch pins old versions of torch and numpy that it does not need.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(FACENET)
	@touch $@

# Reports --------------------------------------------------------------------------------------
# Rewritten only when its content changes, so that parameters are an input that make can see.
results/parameters/%.yml: FORCE
	@mkdir -p $(@D)
	@printf 'dataset: %s\nprofile: %s\nseeds: [%s]\ndata: "%s"\nsettings: %s\n' \
	  '$(call dataset_of,$*)' '$(PROFILE)' \
	  "$$(echo $(SEEDS) | tr ' ' ',')" '$(abspath $(DATA))' '$(SETTINGS)' > $@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@

.SECONDEXPANSION:
reports/%.html: results/parameters/%.yml $(SOURCES) notebooks/$$(call paper_of,$$*).ipynb | $(STAMP)
	$(SHARE)$(LAUNCH) $(BIN)/llie report $(call paper_of,$*) --parameters $<

reports/summary-all-$(PROFILE).html: $(REPORTS)

# The cross table of paper 1 uses the runs of both tasks, so pose comes after segmentation.
STREETS := reports/recognition-builtin-streets-$(PROFILE).html
POSE := reports/recognition-builtin-streets-pose-$(PROFILE).html
ifeq ($(words $(filter $(STREETS) $(POSE),$(REPORTS))),2)
$(POSE): | $(STREETS)
endif

# Tests ----------------------------------------------------------------------------------------
test: lint test-python test-notebooks

lint: | $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

test-python: | $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov --cov-report=term

# The notebooks are run afresh; the text of their tagged cells must be what is stored.
test-notebooks: | $(STAMP)
	@results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && \
	LLIE_RESULTS=$$results LLIE_REPORTS=$$results JUPYTER_PREFER_ENV_PATH=1 \
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-sanitize-with tests/nbval.cfg \
	  -p no:cacheprovider notebooks

# After a change that is meant to alter golden outputs: run, store, and read the diff.
golden: | $(STAMP)
	@results=$$(mktemp -d) && trap 'rm -rf "$$results"' EXIT && \
	LLIE_RESULTS=$$results LLIE_REPORTS=$$results JUPYTER_PREFER_ENV_PATH=1 \
	$(BIN)/python tests/store_golden.py notebooks/*.ipynb

lab: | $(STAMP)
	$(BIN)/jupyter lab notebooks

bench: | $(STAMP)
	$(BIN)/llie bench

# Removes what was generated, not the environment and not results/reference.
clean:
	find results reports -mindepth 1 -maxdepth 1 ! -name reference ! -name .gitkeep -exec rm -rf {} +
