# Everything a user or CI types. `make demo` and `make test` set up a fresh machine by themselves.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check bench lock clean

help:
	@echo "make demo    set up, start a local Kubernetes and two devices, show the main job"
	@echo "make test    set up and run every test"
	@echo "make check   format, lint, types, layers, sizes, go vet"
	@echo "make bench   run the benchmarks"
