// The CUDA kernels as seen from outside: plain C++ for whoever launches them.
//
// run() launches its kernels on the given stream, waits for nothing, and returns what CUDA says of
// the launches. Batches are not empty. No result depends on the GPU or on what else it does.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "../common/arguments.h"

namespace wgan_fast {
namespace cuda {

// What some kernels need besides their arguments. Results of several blocks meet in `memory`; the
// block that draws the last ticket puts them together. `*ticket` is 0 before and after, so one
// ticket serves any number of launches that do not overlap.
struct Workspace {
  void* memory;
  unsigned* ticket;
};

// Where a kernel runs, and what its host does for it.
struct Launch {
  cudaStream_t stream;
  // Called before the launch by those who need one; it must live until the kernel has run.
  Workspace (*workspace)(size_t bytes, void* host);
  void* host;
  unsigned max_blocks = 65536;  // beyond it, blocks go on to further work; tests make it small
};

#define WGAN_FAST_DECLARE(Args) \
  template <class T>            \
  cudaError_t run(const Args<T>& args, const Launch& launch);
WGAN_FAST_FOR_EACH_KERNEL(WGAN_FAST_DECLARE)
#undef WGAN_FAST_DECLARE

// What stands at the end of a kernel's file.
#define WGAN_FAST_CUDA_KERNEL(Args, T) template cudaError_t run<T>(const Args<T>&, const Launch&);

}  // namespace cuda
}  // namespace wgan_fast
