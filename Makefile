# Evergreen's verbs. The first one that needs the environment (.venv, node_modules) makes it.
.DEFAULT_GOAL := help
.PHONY: help demo check test lint types nag unit all synth pipeline schema up down status preflight prove deploy deliver diff destroy benchmarks lock clean
SHELL := /bin/bash
PYTHON ?= python3
PY := .venv/bin/python
PYTEST = $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
UV_VERSION := 0.13.9
ARGS ?=
TARGET ?= local
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20
export AWS_CDK_DISABLE_CLI_TELEMETRY := true
# The CDK's modules take five seconds to compile. That is done once, whatever the shell sets.
unexport PYTHONDONTWRITEBYTECODE

EVERGREEN := .venv/bin/evergreen

# Commands target the local cloud. Set TARGET=aws to use your account. PORT and STATE select another local cloud.
# Only from make's command line: a PORT or STATE of the shell belongs to something else.
given = $(if $(findstring command,$(origin $1)),$2 $($1))
WHERE := $(strip $(call given,PORT,--port) $(call given,STATE,--state))
ifeq ($(TARGET),aws)
CLOUD :=
AT := --target aws
# The CDK CLI asks before it deploys broader permissions, and before it deletes.
APPROVAL :=
FORCE :=
PREFLIGHT := $(EVERGREEN) preflight --target aws --before-deploy &&
else ifeq ($(TARGET),local)
CLOUD := eval "$$(.venv/bin/localcloud env $(WHERE))" &&
AT := --target local $(WHERE)
APPROVAL := --require-approval never
FORCE := --force
PREFLIGHT :=
else
$(error TARGET is local or aws, got $(TARGET))
endif

help: ## List the verbs
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: .venv/.ready .venv/.layer node_modules/.ready ## Run the whole loop on real data, on this machine (ARGS="--yes --full")
	@$(EVERGREEN) demo $(WHERE) $(ARGS)

# mypy keeps one core busy for a minute or two when its cache is cold: the rest runs on the other meanwhile.
check: lint ## What a delivery runs: lint, types, nag, unit and stacks tests
	@$(MAKE) --no-print-directory -j2 types unit

test: lint ## What CI runs: make check, the packages' tests, integration and the loop
	@$(MAKE) --no-print-directory -j2 types all

lint: .venv/.ready ## ruff: rules and format
	@.venv/bin/ruff check . && .venv/bin/ruff format --check .

types: .venv/.ready ## mypy, strict
	@.venv/bin/mypy

nag: .venv/.ready .venv/.layer node_modules/.ready ## Synthesise with cdk-nag and the built-in validation
	@$(PY) app.py && echo "nag: no finding is left unacknowledged"

unit: nag ## Unit and stacks tests
	@$(PYTEST) tests/unit tests/stacks $(ARGS)

all: nag .venv/.images
	@$(PYTEST) $(ARGS)

synth: .venv/.ready .venv/.layer node_modules/.ready ## Write the templates to cdk.out (no account, no network)
	@npx cdk synth --quiet $(ARGS) && ls cdk.out/*.template.json

pipeline: .venv/.ready ## Print a model's compiled SageMaker Pipeline (MODEL=flight-delays)
	@$(EVERGREEN) pipeline show $(or $(MODEL),$(error name the model: make pipeline MODEL=flight-delays))

schema: .venv/.ready ## Write the JSON Schemas of evergreen.yaml and model.yaml
	@$(EVERGREEN) schema

up: .venv/.ready ## Start the local cloud (PORT=, STATE=)
	@.venv/bin/localcloud up $(WHERE) $(ARGS)

down: .venv/.ready ## Stop the local cloud (ARGS=--purge deletes its state)
	@.venv/bin/localcloud down $(WHERE) $(ARGS)

status: .venv/.ready ## Report what runs: the local cloud, and each model by stage
	@$(if $(CLOUD),.venv/bin/localcloud status $(WHERE) &&) $(EVERGREEN) status $(AT) $(ARGS)

preflight: .venv/.ready ## Report what the account lacks, and which line to change (reads only)
	@$(EVERGREEN) preflight $(AT) $(ARGS)

prove: .venv/.ready .venv/.layer node_modules/.ready ## Prove the whole loop under a name of its own, and delete it again (asks; ARGS=--clean)
	@$(EVERGREEN) prove $(AT) $(ARGS)

deploy: .venv/.ready .venv/.layer node_modules/.ready ## Bootstrap and deploy all stacks (TARGET=local, or aws after a preflight)
	@$(PREFLIGHT) $(CLOUD) npx cdk bootstrap && \
	  $(EVERGREEN) delivery hold $(AT) -- npx cdk deploy --all $(APPROVAL) $(ARGS)

deliver: .venv/.ready .venv/.layer node_modules/.ready ## Deploy the pipeline that delivers what is pushed (after bootstrap: docs/deploy.md)
	@$(CLOUD) npx cdk deploy --context delivery=true $(APPROVAL) "*-delivery" $(ARGS)

diff: .venv/.ready .venv/.layer node_modules/.ready ## Show what a deploy would change
	@$(CLOUD) npx cdk diff $(ARGS)

destroy: .venv/.ready .venv/.layer node_modules/.ready ## Delete all stacks; docs/operations/removal.md says what is retained
	@$(CLOUD) npx cdk destroy --all $(FORCE) $(ARGS)

benchmarks: .venv/.ready .venv/.layer node_modules/.ready ## Measure what the README claims
	@$(PY) benchmarks/synth.py && $(PY) benchmarks/loop.py && $(PY) benchmarks/release.py && $(PY) benchmarks/fleet.py

lock: .venv/.ready ## Resolve requirements*.txt again into constraints.txt
	@.venv/bin/uv pip compile requirements-dev.txt -o constraints.txt --python-version 3.11 --universal --upgrade --quiet \
	  --no-emit-package evergreen --no-emit-package localcloud --no-emit-package drift-analyzer

clean: ## Remove what can be made again (not the local cloud's state)
	@rm -rf .venv node_modules cdk.out .cache .mypy_cache .ruff_cache .pytest_cache

# The environment of the pipeline's own steps (evergreen delivery): no CDK, no SDK, made by uv in seconds.
.cache/delivery/.ready: export PATH := $(PATH):$(CURDIR)/.cache/uv/bin
.cache/delivery/.ready: constraints.txt
	@mkdir -p .cache
	@command -v uv >/dev/null || \
	  $(PYTHON) -m pip install --quiet --disable-pip-version-check --target .cache/uv uv==$(UV_VERSION)
	@uv venv --quiet --clear --python $(PYTHON) .cache/delivery
	@uv pip install --quiet --python .cache/delivery/bin/python -c constraints.txt boto3 pydantic pyyaml rich typer
	@touch $@

.venv/.ready: requirements.txt requirements-dev.txt constraints.txt packages/localcloud/pyproject.toml packages/analyzer/pyproject.toml pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Evergreen needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Say which: make PYTHON=python3.12 …"; exit 2; }
	@echo "Making .venv (about 1.4 GB; a minute, more when nothing is cached) …"
	@$(PYTHON) -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@.venv/bin/uv pip install --quiet --python $(PY) -r requirements-dev.txt -c constraints.txt
	@# Containers may not write to .venv, so what they import is compiled here once. What a synth imports is compiled in
	@# parallel, as far as it does without Node.
	@{ $(PY) -c 'import sklearn, xgboost, boto3; boto3.client("s3", region_name="us-east-1")' && \
	  $(PY) -m localcloud.cloudformation.linter </dev/null && \
	  $(PY) -m compileall -q $$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/ministack; } \
	  >/dev/null & first=$$!; \
	  $(PY) -c 'import sagemaker.mlops.workflow.pipeline, stacks' >/dev/null 2>&1; wait $$first
	@$(MAKE) --no-print-directory .venv/.layer
	@# What stands in for the image of the example model. Others are made at their first use.
	@.venv/bin/localcloud images make xgboost:3.2-0
	@touch $@

# What stands in for the images that tests use. Their jobs do not wait for it.
.venv/.images: .venv/.ready $(wildcard packages/localcloud/src/localcloud/runtime/images/*.txt)
	@.venv/bin/localcloud images make xgboost:3.2-0 scikit-learn:1.4-2
	@touch $@

# The analyzer with numpy and orjson, for arm64: a synth packs what lies here.
.venv/.layer: $(wildcard lambda/layers/analyzer/*) $(shell find packages/analyzer/src \( -name '*.py' -o -type d \) ! -name __pycache__)
	@$(PY) lambda/layers/analyzer/build.py >/dev/null
	@touch $@

node_modules/.ready: package.json package-lock.json
	@node -e 'process.exit(process.versions.node.split(".")[0] < 20 ? 1 : 0)' 2>/dev/null || \
	  { echo "Evergreen needs Node 20 or newer (22 recommended); found: $$(node --version 2>/dev/null || echo none)"; exit 2; }
	@npm ci --no-audit --no-fund --loglevel=error >/dev/null
	@touch $@
