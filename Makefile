# The commands of this project; `make help` lists them. Each installs what it needs first (scripts/install.sh).
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help install trial test unit lint bench clean distclean

BIN := .venv/bin

# Only root may build networks, and only Linux has them; $(1) is the target's name.
need_root = $(if $(filter Linux,$(shell uname -s)),,$(error the testbed needs Linux: use a virtual machine, see the Vagrantfile))\
	$(if $(filter 0,$(shell id -u)),,$(error make $(1) builds networks, which needs root: sudo make $(1)))
# Run $(1), then give what root made here to the checkout's owner, and end as $(1) ended.
owned = @status=0; { $(1); } || status=$$?; scripts/give-back.sh; exit $$status

help: ## List every target
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

install: ## Install what is missing: Debian packages (needs root) and .venv
	@scripts/install.sh

trial: ## Run the quickstart experiment: native against P4P (needs root)
	$(call need_root,trial)
	@scripts/install.sh
	$(call owned,$(BIN)/testbed run experiments/quickstart.yaml)

test: ## Check the style and types, run the tests of all levels (needs root)
	$(call need_root,test)
	@scripts/install.sh
	$(call owned,$(LINT) && $(BIN)/pytest)

unit: install ## Run the tests that need no root
	$(call owned,$(BIN)/pytest tests/unit tests/conformance)

LINT := $(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy
lint: install ## Check the style and types
	$(call owned,$(LINT))

# overload.py is an experiment of docs/fidelity.md, and the others are what benchmarks share.
NO_BENCHMARKS := $(patsubst %,benchmarks/%.py,bench forked live overload stock_mininet)
BENCHMARKS := $(filter-out $(NO_BENCHMARKS),$(wildcard benchmarks/*.py))
bench: install ## Run the benchmarks against their peers (QUICK=1: a rough answer)
	@command -v wrk >/dev/null || { echo "bench: installing wrk, which asks portals"; apt-get install -qq wrk; }
	$(call owned,for script in $(BENCHMARKS); \
		do $(BIN)/python $$script $(if $(QUICK),--quick) || exit 1; done)

clean: ## Remove what crashed runs left on this machine, and nothing else (needs root)
	$(call need_root,clean)
	@[ ! -x $(BIN)/testbed ] || $(BIN)/testbed clean

distclean: ## Remove .venv and caches from this checkout; results stay
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
