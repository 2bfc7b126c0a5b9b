# Each target does its own set-up. PYTHON is the interpreter to make the environment with (3.11 or
# newer); PIP_ARGS go to pip (for example the index that holds CPU builds of torch). VERBOSE=1 shows
# every job in full, where a run otherwise shows how far it is.
PYTHON ?= python3
PIP_ARGS ?=
CORES ?= 2
EXPERIMENT ?= miniature
BUNDLE ?= bundles/$(EXPERIMENT).zip
MATRIX ?=
MATRIX_BUNDLE = bundles/$(notdir $(MATRIX:%/=%))-matrix.zip
SLURM_TESTS ?= tests/slurm
DEVICE ?= cuda
SIZE ?= paper
BIN := .venv/bin
# Tests of one file share what they have run and change it one after the other.
BY_FILE = -n $(CORES) --dist loadfile
OVERLAY = $(or $(wildcard experiments/$(EXPERIMENT).yaml),$(error EXPERIMENT=$(EXPERIMENT): there is no experiments/$(EXPERIMENT).yaml))
CONFIGFILE = $(if $(filter miniature,$(EXPERIMENT)),,--configfile $(OVERLAY))
FULL := $(if $(VERBOSE),--printshellcmds)
SNAKEMAKE = $(BIN)/snakemake --cores $(CORES) $(FULL) $(CONFIGFILE)
LIGHT := .venv-figures/bin
FROM_BUNDLE := --config bundle=$(BUNDLE)
BUNDLE_REPORT := reports/$(basename $(notdir $(BUNDLE)))-bundle.html
COMMA := ,
SPACE := $(subst ,, )
COMPARED = $(if $(RUNS),$(patsubst %,results/%/claims.csv,$(RUNS)),$(wildcard results/*/claims.csv))
CLAIMS = [$(subst $(SPACE),$(COMMA),$(patsubst %,"%",$(COMPARED)))]
STYLED := --report-stylesheet reports/report.css
ifeq ($(filter analyse,$(MAKECMDGOALS))$(MATRIX),analyse)
$(error name the folder of the matrix: make analyse MATRIX=examples/my_rewards)
endif
# Snakemake and pip keep caches in HOME: where it cannot be written, they are kept here.
ifneq ($(shell mkdir -p "$$HOME/.cache" 2> /dev/null && test -w "$$HOME/.cache" && echo yes),yes)
export XDG_CACHE_HOME ?= $(CURDIR)/.snakemake/cache
endif
.PHONY: demo run report bundle figures analyse csv compare test test-slow test-workflow test-slurm test-browser chromium pictures lint estimate bench bench-stages gpu-check bench-input bench-statistics reference docs help

help: ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s "$$(printf '\t')"

demo: report ## the miniature from nothing to its report, then where everything is
	@echo
	@echo "Report:  reports/$(EXPERIMENT).html"
	@echo "Figures: results/$(EXPERIMENT)/figures/"
	@echo "Tables:  results/$(EXPERIMENT)/tables/"
	@echo "Claims:  results/$(EXPERIMENT)/claims.csv: what holds here, what does not, and how sure that is"
	@echo "Logs:    results/$(EXPERIMENT)/logs/"

run: .venv/ready ## run the experiment EXPERIMENT; goes on from where it stood; VERBOSE=1 shows every job in full
	@test -z "$$(ls .snakemake/locks 2> /dev/null)" || $(BIN)/python scripts/unlock.py $(CONFIGFILE)
	$(SNAKEMAKE) --rerun-incomplete all --prioritize labelled

report: run ## reports/EXPERIMENT.html, self-contained
	$(SNAKEMAKE) --report reports/$(EXPERIMENT).html $(STYLED)

bundle: .venv/ready ## bundles/EXPERIMENT.zip, from which everything after the reward matrix can be redrawn
	$(SNAKEMAKE) --rerun-incomplete bundle claims
	$(BIN)/python scripts/verdicts.py --claims results/$(EXPERIMENT)/claims.csv --bundle bundles/$(EXPERIMENT).zip

figures: .venv-figures/ready ## every figure and the report from BUNDLE, without torch
	@test -z "$$(ls .snakemake/locks 2> /dev/null)" || $(LIGHT)/python scripts/unlock.py $(FROM_BUNDLE)
	$(LIGHT)/snakemake --cores $(CORES) $(FULL) --rerun-incomplete $(FROM_BUNDLE)
	$(LIGHT)/snakemake $(FROM_BUNDLE) --report $(BUNDLE_REPORT) $(STYLED)
	@echo
	@echo "Report: $(BUNDLE_REPORT)"

analyse: $(MATRIX_BUNDLE) ## every figure and the report from a reward matrix of your own, the folder MATRIX, without torch
	$(MAKE) figures BUNDLE=$(MATRIX_BUNDLE)

$(MATRIX_BUNDLE): .venv-figures/ready $(wildcard $(MATRIX) $(MATRIX)/*)
	$(LIGHT)/python scripts/import_matrix.py --matrix $(MATRIX) --output $@

csv: .venv-figures/ready ## the reward matrix of BUNDLE as CSV files, as MATRIX has them, in the folder TO
	$(LIGHT)/python scripts/export_matrix.py --bundle $(BUNDLE) \
		--output $(or $(TO),$(error name the folder to write: make csv TO=my_rewards))

compare: .venv/ready ## claims across all experiments with results, or RUNS="miniature debian": a page and a table
	@$(BIN)/python scripts/compare.py --claims '$(CLAIMS)' --output reports/claims-compared.html
	@$(BIN)/python scripts/compare.py --claims '$(CLAIMS)' --output reports/claims-compared.csv
	@echo "Page:  reports/claims-compared.html"
	@echo "Table: reports/claims-compared.csv"

test: .venv/ready ## the test suite without its slow part
	OMP_NUM_THREADS=1 $(BIN)/pytest -q $(BY_FILE) -m "not slow and not slurm and not browser" tests

test-slow: .venv/ready ## real runs: the DAG finished and changed, notebooks, downloads
	OMP_NUM_THREADS=1 $(BIN)/pytest -q $(BY_FILE) -m slow tests

test-workflow: .venv/ready ## the workflow run, changed, broken and interrupted for real
	OMP_NUM_THREADS=1 $(BIN)/pytest -q $(BY_FILE) -m slow tests/workflow

test-slurm: .venv/ready ## a run and its faults on a real Slurm cluster on this machine (Debian, root)
	$(BIN)/python tests/slurm/cluster.py install
	OMP_NUM_THREADS=1 $(BIN)/pytest -rs -m slurm $(SLURM_TESTS)

chromium:
	@command -v chromium > /dev/null && command -v chromedriver > /dev/null \
		|| { echo "chromium and chromedriver are needed; on Debian:" \
		"apt-get install --no-install-recommends chromium chromium-driver"; exit 1; }

test-browser: chromium report ## the report of EXPERIMENT in a real browser, wide and narrow
	REPORT=reports/$(EXPERIMENT).html $(BIN)/pytest -m browser tests/browser

pictures: chromium report ## renew the pictures of README and docs, from the miniature
	$(BIN)/python tests/browser/pictures.py results/$(EXPERIMENT) reports/$(EXPERIMENT).html
	$(BIN)/python tests/workflow/picture.py

reference: .venv/ready ## docs/configuration.md and config.schema.json from the schema and config.yaml
	$(BIN)/python scripts/reference.py

docs: .venv-docs/ready ## the manual as a site, in site/
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --quiet
	@echo "Manual: site/index.html"

lint: .venv/ready ## ruff, snakefmt and Snakemake's own lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

estimate: .venv/ready ## what EXPERIMENT would cost: jobs, GPU-hours, disk, by stage
	@$(BIN)/python scripts/estimate.py $(CONFIGFILE)

bench: .venv/ready ## sampling, scoring and a step of RLHF against the standard tools, on one core
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r envs/bench.txt -c envs/constraints.txt
	$(BIN)/python tests/benchmarks/best_of_n.py --output docs/benchmarks
	$(BIN)/python tests/benchmarks/best_of_n.py --output docs/benchmarks --instructions avx2 \
		--sizes d64 d128 --repeats 5
	$(BIN)/python tests/benchmarks/rlhf_step.py --output docs/benchmarks
	$(BIN)/python tests/benchmarks/shared_prefix.py --output docs/benchmarks

bench-stages: .venv/ready ## where the CPU time of EXPERIMENT went, from its logs
	$(BIN)/python tests/benchmarks/cpu_time.py results/$(EXPERIMENT)

bench-statistics: .venv/ready ## rerank, tables, bootstrap and claims on a matrix of the paper's size, or SIZE=decisive
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/statistics_at_paper_size.py --size $(SIZE)

gpu-check: ## check and measure the CUDA paths on one GPU, in 8 minutes at most (DEVICE=cpu: try it)
	$(PYTHON) tests/gpu/check.py --device $(DEVICE)

bench-input: .venv/ready ## how fast one core makes pretraining batches at T5's lengths
	OMP_NUM_THREADS=1 $(BIN)/python tests/benchmarks/pretraining_input.py

.venv/ready: PINS := workflow
.venv/ready: MODULES := snakemake, torch, transformers, papermill
.venv-figures/ready: PINS := figures
.venv-figures/ready: MODULES := snakemake, papermill
.venv-docs/ready: PINS := docs
.venv-docs/ready: MODULES := mkdocs, material
.venv/ready .venv-figures/ready .venv-docs/ready: %/ready: $(wildcard envs/*.txt)
	@test -w . || { echo "This folder cannot be written. Clone it into one of your own, or, in one of your" \
		"own, run snakemake --snakefile '$(CURDIR)/Snakefile'"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; say which with make PYTHON=..."; exit 1; }
	@$*/bin/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear $*
	@echo "Installing the pinned packages into $*: two minutes at most"
	$*/bin/python -m pip install --disable-pip-version-check --quiet $(PIP_ARGS) \
		-r envs/$(PINS).txt -c envs/constraints.txt
	$*/bin/python -c "import $(MODULES)"
	touch $@
