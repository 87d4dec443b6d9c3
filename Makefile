# Everything a user or CI types. `make demo` and `make test` set up a fresh machine by themselves.
PYTHON ?= python3
BIN := .venv/bin
# Debian packages with foreign programs that kernels are compiled by and tests talk to, and the commands they bring.
KERNEL_PACKAGES := gcc gcc-arm-none-eabi
KERNEL_COMMANDS := gcc arm-none-eabi-gcc
TEST_PACKAGES := libcoap3-bin docker-registry skopeo qemu-system-arm qemu-user $(KERNEL_PACKAGES)
TEST_COMMANDS := coap-client-notls docker-registry skopeo qemu-system-arm qemu-arm $(KERNEL_COMMANDS)

.DEFAULT_GOAL := help
.PHONY: help demo test check fuzz bench kernels models lock clean packages

# $(call install,commands,packages): root gets what is missing, others are told.
define install
@missing=""; for command in $(1); do command -v $$command >/dev/null || missing="$$missing $$command"; done; \
if [ -n "$$missing" ]; then \
  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2); \
  else echo "These commands are missing:$$missing. Install the packages $(2)" >&2; exit 1; fi; fi
endef

help:
	@echo "make demo     set up, start a local Kubernetes and two devices, show the main job"
	@echo "make test     set up and run every test"
	@echo "make check    format, lint, types, layers, sizes, go vet"
	@echo "make bench    run the benchmarks"
	@echo "make fuzz     feed millions of damaged inputs to the readers"
	@echo "make kernels  compile the kernels in C for x64 and armv7m"
	@echo "make models   train the project's own models again"
	@echo "make lock     pin the newest versions of all dependencies"

# A Python without the venv module (Debian splits it off) is completed when that is possible.
.venv/.created:
	@$(PYTHON) -c 'import sys; sys.exit("FITA needs Python 3.11 or newer, this is " + sys.version) if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq python3-venv; \
	  else echo "Python's venv module is missing: install the package python3-venv" >&2; exit 1; fi; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.run: .venv/.created requirements/run.lock pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

.venv/.dev: .venv/.run requirements/dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.lock
	@touch $@

demo: .venv/.run
	$(BIN)/fita demo temperature

check: .venv/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.sizes
	$(BIN)/python -m tools.govet

packages:
	$(call install,$(TEST_COMMANDS),$(TEST_PACKAGES))

# A MicroPython for 32-bit ARM, which tests run the kernels on.
ARM := build/micropython-armhf
$(ARM)/usr/bin/micropython: | .venv/.dev packages
	$(BIN)/python -m tools.micropython_arm $(ARM)

test: .venv/.dev packages $(ARM)/usr/bin/micropython
	$(BIN)/pytest

# The models' own environment, and the street video that one of them learns from.
VIDEO := build/opencv-doc/usr/share/doc/opencv-doc/examples/data/vtest.avi
.venv-models/.created: requirements/models.lock
	$(PYTHON) -m venv .venv-models
	.venv-models/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/models.lock
	@touch $@

$(VIDEO):
	@mkdir -p build/opencv-doc
	cd build && apt-get download opencv-doc && dpkg-deb --extract opencv-doc_*.deb opencv-doc && rm opencv-doc_*.deb

models: .venv-models/.created $(VIDEO)
	.venv-models/bin/python -m models.train_digits
	.venv-models/bin/python -m models.train_pedestrians $(VIDEO)

kernels: .venv/.dev
	$(call install,$(KERNEL_COMMANDS),$(KERNEL_PACKAGES))
	$(BIN)/python -m tools.kernels build/kernels

fuzz: .venv/.dev packages $(ARM)/usr/bin/micropython
	$(BIN)/python -m tools.fuzz_models --inputs 1000000
	FITA_EXACT_MODELS=5000 $(BIN)/pytest tests/unit/tinyml/test_tinyml_execute.py
	$(BIN)/python -m tools.fuzz_split --count 5000
	FITA_KERNEL_MODELS=1000 FITA_HOSTILE_SEGMENTS=20000 FITA_SLICED_MODELS=2000 $(BIN)/pytest --timeout=3600 \
	  tests/device/test_kernel_micropython.py tests/device/test_kernel_hostile.py tests/interop/test_kernel_cortex_m3.py \
	  tests/unit/tinyml/test_tinyml_pack_tflite.py

# One after the other: they measure, so nothing else should run.
bench: .venv/.dev
	@set -e; for each in $(filter-out __init__ report,$(basename $(notdir $(wildcard benchmarks/*.py)))); do \
	  $(BIN)/python -m benchmarks.$$each; done

lock: .venv/.dev
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --extra device pyproject.toml -o requirements/run.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --extra dev pyproject.toml -c requirements/run.lock -o requirements/dev.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --extra train pyproject.toml -c requirements/run.lock -o requirements/models.lock

clean:
	rm -rf .venv .venv-models .mypy_cache .ruff_cache .pytest_cache build dist
