# make bench            every suite, half an hour on 2 quiet cores; results in benchmarks/results
# make bench-kernels    the kernels alone, printed
# make bench-quick      a few small cases of every suite, printed: whether it all still runs

.PHONY: bench bench-kernels bench-quick

# Inductor needs a C++ compiler, JAX is optional; who is missing is named in the report.
$(VENV)/jax: pyproject.toml | $(VENV)/installed
	$(BIN)/pip install --quiet --group jax
	touch $@

bench: install $(VENV)/jax
	folder=benchmarks/results/$$($(BIN)/python -m benchmarks.machine) && \
	  $(BIN)/python -m benchmarks.race --json $$folder/race.json --csv $$folder/race.csv
	$(BIN)/python -m benchmarks.report

bench-kernels: install
	$(BIN)/python -m benchmarks.race --suite kernels

bench-quick: install
	$(BIN)/python -m benchmarks.race --quick
