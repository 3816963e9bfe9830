// The backends of this build, and how an operator is registered for all of them.
#pragma once

#include <torch/csrc/stable/library.h>

#include "cpu.h"
#if defined(WGAN_FAST_WITH_CUDA)
#include "cuda.h"
#endif

namespace wgan_fast {

using Library = torch::stable::detail::StableLibrary;

}  // namespace wgan_fast

#if defined(WGAN_FAST_WITH_CUDA)
#define WGAN_FAST_REGISTER_CUDA(register_operators)     \
  STABLE_TORCH_LIBRARY_IMPL(wgan_fast, CUDA, library) { \
    register_operators<wgan_fast::Cuda>(library);       \
  }
#else
#define WGAN_FAST_REGISTER_CUDA(register_operators)
#endif

// What stands at the end of an operator's file; the schemas are defined in Python.
#define WGAN_FAST_REGISTER(register_operators)         \
  STABLE_TORCH_LIBRARY_IMPL(wgan_fast, CPU, library) { \
    register_operators<wgan_fast::Cpu>(library);       \
  }                                                    \
  WGAN_FAST_REGISTER_CUDA(register_operators)
