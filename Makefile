# Everything a newcomer or a contributor types. `make` alone lists the commands.
# The environment (.venv, page libraries, Chromium) is tools/bootstrap.sh's work and nobody else's.

PYTHON := .venv/bin/python
# Two processes, each with whole files of tests: a server that a file's tests share is started once.
PYTEST := $(PYTHON) -m pytest -n 2 --dist loadfile

.PHONY: help run dev test check lint format bench fidelity screenshots lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

# gunicorn reads WEB_CONCURRENCY before it asks us, and answers anything but a number with a traceback.
run: ## install what is missing and serve http://127.0.0.1:8080
	@case "$${WEB_CONCURRENCY:-1}" in *[!0-9]*) \
		echo "paper-exchange cannot start: WEB_CONCURRENCY='$$WEB_CONCURRENCY' is wrong: it must be 1, or not set" >&2; \
		exit 2 ;; esac
	@tools/bootstrap.sh run
	@exec env WEB_CONCURRENCY="$${WEB_CONCURRENCY:-1}" $(PYTHON) -m gunicorn wsgi:app

dev: ## the same on the simulated market, reloading when a file changes
	@tools/bootstrap.sh run
	@exec env MARKET=simulated $(PYTHON) -m flask --app wsgi run --debug --port $${PORT:-8080}

test: ## install what the tests need and run them all
	@tools/bootstrap.sh test
	@$(PYTEST)

check: lint ## lint, types, import contract and the unit tests: before every commit
	@$(PYTEST) -q -m "not browser and not slow"

lint: ## formatting, lint, types, import contract
	@tools/bootstrap.sh test
	@$(PYTHON) -m ruff format --check --quiet .
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m mypy
	@.venv/bin/lint-imports

format: ## format the code and sort its imports
	@tools/bootstrap.sh test
	@$(PYTHON) -m ruff check --quiet --fix-only .
	@$(PYTHON) -m ruff format .

bench: ## the benchmarks
	@tools/bootstrap.sh test
	@$(PYTHON) -m bench

fidelity: ## how paper fills compare with real orders' fates, in the recorded files of CAPTURES_DIR
	@tools/bootstrap.sh test
	@$(PYTHON) -m bench.fidelity

screenshots: ## make the pictures of docs/images from the running page
	@tools/bootstrap.sh test
	@$(PYTHON) tools/screenshots.py

# One resolution for Linux and macOS and every Python from 3.11 on; no index address gets into the files.
# A newer version comes in with `make lock UPGRADE=--upgrade`.
LOCK := $(PYTHON) -m uv pip compile pyproject.toml --no-config --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" $(UPGRADE)

lock: ## pin the dependencies of pyproject.toml again
	@tools/bootstrap.sh test
	@$(LOCK) --output-file requirements.txt
	@$(LOCK) --extra dev --constraint requirements.txt --output-file requirements-dev.txt

clean: ## remove everything that was made here, but not data/
	rm -rf .venv .apt.log frontend/vendor .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
