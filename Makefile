# A new machine needs python3.11+, make and git: each target installs the rest.
PYTHON ?= $(firstword $(foreach name,python3.12 python3.11 python3.13 python3,$(if $(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo ok),$(name))))
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup simulate demo serve test test-slow test-flower-1.42 test-flower-next test-endurance check bench bench-peers bundle-offline lock clean

setup: $(READY)

$(READY): pyproject.toml requirements.txt
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found. Install one, or run make PYTHON=/path/to/python3."; exit 1; }
	$(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --requirement requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

simulate: $(READY)
	$(BIN)/python run_simulation.py experiment=quick

demo: demo/hospital/champion

demo/hospital/champion: $(READY)
	rm -rf demo
	$(BIN)/python run_simulation.py experiment=demo folder=demo/run
	$(BIN)/python -m sites demo demo/run --dir demo/hospital

serve: demo/hospital/champion
	$(BIN)/python -m sites serve --dir demo/hospital

test: $(READY)
	$(BIN)/pytest -m "not slow" -n 2 --dist worksteal

test-slow: $(READY) bundle-offline
	$(BIN)/pytest -m slow -n 2 --dist loadfile --no-loadscope-reorder

test-endurance: $(READY)
	HOSPITALS=12 $(BIN)/pytest -m slow tests/deployment/test_endurance.py

# The tests of the deployment and of the strategies, with another release of Flower in an environment of its own.
test-flower-1.42 test-flower-next: test-flower-%: .venv-flower-%/.ready
	.venv-flower-$*/bin/python -m pytest -n 2 --dist loadfile $(FLOWER_TESTS)

FLOWER_TESTS := tests/deployment tests/federation tests/test_apps.py

.venv-flower-1.42/.ready: RELEASE := flwr==1.42.*
.venv-flower-next/.ready: RELEASE := flwr-nightly

.venv-flower-%/.ready: requirements.txt $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-flower-$*
	grep -vE '^(flwr|uv)==' requirements.txt | $(BIN)/uv pip install --quiet --python .venv-flower-$*/bin/python --requirement - '$(RELEASE)'
	$(BIN)/uv pip install --quiet --python .venv-flower-$*/bin/python --no-deps --editable .
	@touch $@

check: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python tests/plain_words.py

bench: $(READY)
	$(BIN)/python -m benchmarks

bench-peers: .venv-peers/flower/.ready .venv-peers/nvflare/.ready .venv-peers/pfl/.ready

.venv-peers/flower/.ready: PEER := flwr[simulation]==1.41.*
.venv-peers/nvflare/.ready: PEER := nvflare==2.9.0
.venv-peers/pfl/.ready: PEER := pfl==0.6.0

.venv-peers/%/.ready: requirements.txt $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-peers/$*
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-peers/$*/bin/python --requirement requirements.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python .venv-peers/$*/bin/python '$(PEER)' # a version that it requires replaces ours
	$(BIN)/uv pip install --quiet --python .venv-peers/$*/bin/python --no-deps --editable .
	@touch $@

# For machines without a package index, with this platform and Python: 3 GB; half a GB if PIP_EXTRA_INDEX_URL names an index of CPU-only wheels.
bundle-offline: dist/offline/SHA256SUMS

dist/offline/SHA256SUMS: $(READY) packaging/install.sh $(shell find conf server sites teledx_fed -type f ! -name '*.pyc')
	rm -rf dist/offline
	mkdir -p dist/offline/wheels
	$(BIN)/python -m pip wheel --quiet --constraint requirements.txt --wheel-dir dist/offline/wheels .
	echo teledx-fed | $(BIN)/uv pip compile --quiet --no-cache --python $(BIN)/python --no-index --find-links dist/offline/wheels \
	  --generate-hashes --no-header --no-annotate --output-file dist/offline/requirements.txt -
	$(BIN)/python -c 'import sys, sysconfig; print("%d.%d" % sys.version_info[:2], sysconfig.get_platform())' > dist/offline/PLATFORM
	cp packaging/install.sh dist/offline
	cd dist/offline && find . -type f | LC_ALL=C sort | xargs sha256sum > ../SHA256SUMS && mv ../SHA256SUMS .

lock: $(READY)
	$(BIN)/uv pip compile --quiet --universal --upgrade --no-emit-index-url --no-header --no-annotate \
	  --python-version 3.11 --extra dev pyproject.toml --output-file requirements.txt

clean:
	rm -rf .venv .teledx_cache dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis
