# Shipping: included by the Makefile, whose VENV, BIN and `install` it uses.
#
# make docs     the documentation site, in build/site; a warning is an error, no network is needed
# make wheel    the wheels and the sdist, in dist: with kernels (manylinux), without, and the sources

.PHONY: docs wheel

$(VENV)/ship: pyproject.toml | $(VENV)/installed
	$(BIN)/pip install --quiet --group ship
	touch $@

wheel: install $(VENV)/ship
	rm -rf dist build/wheels && mkdir -p build/wheels
	WGAN_FAST_BUILD=none $(BIN)/python -m build --no-isolation --outdir dist
	WGAN_FAST_BUILD=cpu $(BIN)/python -m build --no-isolation --wheel --outdir build/wheels
	PATH="$(abspath $(BIN)):$$PATH" auditwheel repair --wheel-dir dist --exclude 'libtorch*' --exclude 'libc10*' \
	  build/wheels/*.whl
	$(BIN)/python -m tools.wheels dist

$(VENV)/docs: pyproject.toml | $(VENV)/installed
	$(BIN)/pip install --quiet --group docs
	touch $@

docs: install $(VENV)/docs
	$(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going --quiet \
	  -c docs/site . build/site
	printf '<!doctype html><meta http-equiv="refresh" content="0; url=README.html">\n' \
	  >build/site/index.html
