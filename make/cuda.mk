# CUDA: included by the Makefile, whose VENV, BIN, PYTHON and `install` it uses.
#
# make cuda-check            compile the CUDA kernels for every GPU generation, read the machine code
# make cuda-docs             write the tables of docs/cuda.md anew
# make cuda-import-check     one build with CUDA, loaded under a CPU and a CUDA build of torch (6 GB)
# make install-cuda-tools    what the checks need besides nvcc: clang-22, nvdisasm, cuobjdump
# make gpu                   on a machine with a GPU: build, measure, sanitise, test   (9 minutes)

.PHONY: cuda-check cuda-docs cuda-import-check install-cuda-tools gpu

# The Python whose torch is built for CUDA, on a machine with a GPU.
GPU_PYTHON ?= python3
# A virtual environment with a CUDA build of torch, made if it is not there.
CUDA_VENV ?= build/cuda-venv
CUDA_TORCH ?= torch==2.14.1
CUDA_HOME ?= /usr/local/cuda
CUDA_IMPORT := build/cuda-import

$(VENV)/disassembler: | $(VENV)/installed
	$(BIN)/pip install --quiet nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm
	touch $@

cuda-check: install $(VENV)/disassembler
	$(BIN)/python -m tools.cuda_check

cuda-docs: install $(VENV)/disassembler
	$(BIN)/python -m tools.cuda_check --write
	$(BIN)/python -m tests.simt.traffic --write
	$(BIN)/python -m tests.simt.launch_plan --write

# Debian's packages; with another distribution, install clang 22 with its compiler-rt yourself.
install-cuda-tools: install $(VENV)/disassembler
	command -v clang++-22 || (apt-get update && \
	  apt-get install --yes --no-install-recommends clang-22 libclang-rt-22-dev llvm-22)

$(CUDA_VENV)/bin/python:
	$(PYTHON) -m venv $(CUDA_VENV)
	$(CUDA_VENV)/bin/pip install --quiet numpy "$(CUDA_TORCH)"

cuda-import-check: install $(CUDA_VENV)/bin/python
	rm -rf $(CUDA_IMPORT)
	FORCE_CUDA=1 WGAN_FAST_BUILD=cuda CUDA_HOME=$(CUDA_HOME) $(BIN)/python setup.py --quiet \
	  build --build-base $(CUDA_IMPORT)/temporary --build-lib $(CUDA_IMPORT)/library
	for python in $(BIN)/python $(CUDA_VENV)/bin/python; do \
	  PYTHONPATH=$(CUDA_IMPORT)/library $$python tools/cuda_import_check.py || exit 1; \
	done

gpu:
	$(GPU_PYTHON) -m tools.gpu
