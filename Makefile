# Two targets do all the set-up on a fresh machine: `make serve` and `make test`. Stamps in .venv make the second time fast.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help serve training test test-long test-gpu test-containers bench bench-gpu audit lint types generated lock debian-packages

PYTHON ?= python3
VENV := .venv
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check -qq
# The lock file of the run time: ONNX Runtime for CUDA where an NVIDIA driver is loaded, else for the CPU. RUNTIME=openvino adds OpenVINO.
RUNTIME := $(if $(or $(wildcard /proc/driver/nvidia/version),$(shell command -v nvidia-smi)),gpu,cpu)
COMPOSE := $(VENV)/bin/docker-compose --profile '*'
# A project of its own, so that its end takes nobody's models and measurements away.
TEST_COMPOSE := COMPOSE_PROJECT_NAME=duet-test docker compose --profile demo
FASHION_MNIST := /usr/share/datasets/fashion-mnist

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

serve: $(VENV)/.project-$(RUNTIME) ## install, then serve the model that ships on http://127.0.0.1:8000 (DUET_PORT changes it)
	@exec $(VENV)/bin/duet-serve

training: $(VENV)/.training-$(RUNTIME) ## install what duet-train needs (torch and more), into the same .venv

# Two processes, a file of tests in one of them, each with one thread for torch.
test: $(VENV)/.dev-$(RUNTIME) debian-packages ## install, then run every test
	@OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n 2 --dist loadfile --max-worker-restart 0 --durations 10 $(PYTEST_ARGS)

test-gpu: $(VENV)/.dev-$(RUNTIME) ## run the tests that need a CUDA device, on a machine that has one
	@$(VENV)/bin/python -m pytest -m gpu tests/gpu tests/unit/training/test_on_cuda.py $(PYTEST_ARGS)

test-long: $(VENV)/.dev-$(RUNTIME) debian-packages ## install, then run the long forms of tests, which `make test` leaves out
	@$(VENV)/bin/python -m pytest -m long $(PYTEST_ARGS)

test-containers: $(VENV)/.dev-$(RUNTIME) ## build the images, bring the Compose project up, check it and take it down (needs Docker)
	@$(TEST_COMPOSE) up --build --wait && COMPOSE_PROJECT_NAME=duet-test $(VENV)/bin/python -m pytest -m containers tests/containers; \
		code=$$?; $(TEST_COMPOSE) down --volumes; exit $$code

bench: $(VENV)/.dev-$(RUNTIME) $(VENV)-bench/.$(RUNTIME) debian-packages ## measure Duet beside LitServe, mosec, BentoML and a plain handler
	@$(VENV)/bin/python -m benchmarks.serve --graph demo $(BENCH_ARGS)
	@$(VENV)/bin/python -m benchmarks.serve --graph vit-s --picture web --seconds 20 $(BENCH_ARGS)

bench-gpu: BENCH_ARGS += --cuda --output runs/serve-gpu
bench-gpu: bench ## the same with CUDA, on a machine that has it

audit: $(VENV)/bin/python ## look the run time's pinned versions up among known vulnerabilities (asks pypi.org)
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/python -m pip --disable-pip-version-check -qq install pip-audit==2.10.1
	@.venv-audit/bin/pip-audit --require-hashes --disable-pip --strict -r requirements/cpu.txt -r requirements/openvino.txt -r requirements/gpu.txt

lint: $(VENV)/.dev-$(RUNTIME) ## check style and formatting, the Dockerfile and the Compose files
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/hadolint Dockerfile
	@$(COMPOSE) config --quiet
	@$(COMPOSE) -f docker-compose.yml -f docker-compose.gpu.yml config --quiet
	@$(COMPOSE) -f docker-compose.yml -f docker-compose.openvino.yml config --quiet

types: $(VENV)/.dev-$(RUNTIME) ## check the type annotations
	@$(VENV)/bin/mypy service training client benchmarks deploy

generated: $(VENV)/.dev-$(RUNTIME) ## write the dashboards' JSON and the Kubernetes rules anew from their sources
	@$(VENV)/bin/python -m deploy.grafana.generate
	@$(VENV)/bin/python -m deploy.kubernetes.prometheus_rule

# What tests need from Debian: real test data, promtool, a broker, wrk and a browser. Root installs them; others are told, and the tests are skipped.
debian-packages:
	@for needed in dataset-fashion-mnist:$(FASHION_MNIST) prometheus:/usr/bin/promtool mosquitto:/usr/sbin/mosquitto wrk:/usr/bin/wrk \
			chromium:/usr/bin/chromium; do \
		package=$${needed%%:*}; \
		if [ -e "$${needed#*:}" ]; then :; \
		elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
			echo "Installing Debian's $$package"; \
			{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$package; } \
				>/dev/null || echo "$$package cannot be installed: tests with it are skipped"; \
		else echo "$${needed#*:} is missing (Debian package $$package): tests with it are skipped"; \
		fi; \
	done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "Duet needs Python 3.11 or newer, and $(PYTHON) is not: name one with make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

# The peers of `make bench`, apart from what Duet needs, with the same ONNX Runtime.
$(VENV)-bench/.$(RUNTIME): requirements/$(RUNTIME).txt benchmarks/serve/requirements.txt
	@echo "Installing benchmarks/serve/requirements.txt into $(VENV)-bench"
	@rm -rf $(VENV)-bench && $(PYTHON) -m venv $(VENV)-bench
	@$(VENV)-bench/bin/python -m pip --disable-pip-version-check -qq install -r benchmarks/serve/requirements.txt \
		"$$(sed -n 's/^\(onnxruntime==[^ ]*\).*/\1/p; s/^onnxruntime-gpu==\([^ ]*\).*/onnxruntime-gpu[cuda,cudnn]==\1/p' $<)"
	@touch $@

# Every stamp is named after the run time, so that a driver that appears later brings its ONNX Runtime in.
$(VENV)/.runtime-$(RUNTIME): requirements/$(RUNTIME).txt | $(VENV)/bin/python
	@echo "Installing $< into $(VENV)"
	@$(PIP) uninstall -y onnxruntime onnxruntime-gpu openvino
	@$(PIP) install -r $<
	@rm -f $(VENV)/.runtime-* && touch $@

# Editable: a change of the sources needs no new installation.
$(VENV)/.project-$(RUNTIME): $(VENV)/.runtime-$(RUNTIME) pyproject.toml
	@$(PIP) install --no-deps --editable .
	@touch $@

# The run time above has brought its own ONNX Runtime; both builds at once would overwrite each other's files.
$(VENV)/.training-$(RUNTIME) $(VENV)/.dev-$(RUNTIME): $(VENV)/.%-$(RUNTIME): requirements/%.txt $(VENV)/.project-$(RUNTIME)
	@echo "Installing $< into $(VENV)"
	@grep -v '^onnxruntime==' $< > $(VENV)/$*.txt
	@$(PIP) install -r $(VENV)/$*.txt
	@touch $@

# All lock files agree on the version of what they share. torch's registry build and its CPU build have different hashes,
# so the two that hold torch carry none.
COMPILE = .venv-lock/bin/uv pip compile --quiet --upgrade --universal --fork-strategy fewest --python-version 3.11 \
	--no-annotate --custom-compile-command 'make lock' pyproject.toml

lock: ## resolve the pinned versions in requirements/ anew
	@$(PYTHON) -m venv .venv-lock
	@.venv-lock/bin/python -m pip --disable-pip-version-check -qq install uv==0.13.9
	$(COMPILE) --extra cpu --extra openvino --extra otel --extra training --extra pretrain --extra client --extra camera --extra dev \
		--output-file requirements/dev.txt
	$(COMPILE) --extra cpu --extra training --constraint requirements/dev.txt --output-file requirements/training.txt
	$(COMPILE) --extra cpu --extra otel --constraint requirements/dev.txt --generate-hashes --output-file requirements/cpu.txt
	$(COMPILE) --extra cpu --extra openvino --extra otel --constraint requirements/dev.txt --generate-hashes \
		--output-file requirements/openvino.txt
	$(COMPILE) --extra gpu --extra otel --constraint requirements/dev.txt --generate-hashes --output-file requirements/gpu.txt
	$(COMPILE) --extra camera --constraint requirements/dev.txt --generate-hashes --output-file requirements/camera.txt
	echo 'setuptools>=77.0.3' | $(subst pyproject.toml,-,$(COMPILE)) --generate-hashes --output-file requirements/build.txt
	@rm -rf .venv-lock
