// The CUDA kernels as seen from outside: plain C++ for whoever launches them.
//
// Every function launches one kernel on the given stream, waits for nothing, and returns what CUDA
// says of the launch. Batches are not empty. No result depends on the GPU or on what else it does.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

#include "../common/arguments.h"

namespace wgan_fast {
namespace cuda {

struct Launch {
  cudaStream_t stream;
  unsigned max_blocks = 65536;  // beyond it, blocks go on to further work; tests make it small
};

// What norm_penalty needs besides its arguments. Norms and penalties of several blocks meet in
// `memory`; the block that draws the last ticket adds them up. `*ticket` is 0 before and after, so
// one ticket serves any number of launches that do not overlap.
struct Workspace {
  void* memory;
  unsigned* ticket;
};

template <class T>
cudaError_t interpolate(const InterpolateArgs<T>& args, const Launch& launch);
template <class T>
cudaError_t interpolate_backward(const InterpolateBackwardArgs<T>& args, const Launch& launch);
template <class T>
size_t norm_penalty_workspace_bytes(const NormPenaltyArgs<T>& args);
template <class T>
cudaError_t norm_penalty(const NormPenaltyArgs<T>& args, const Workspace& workspace,
                         const Launch& launch);
template <class T>
cudaError_t norm_penalty_backward(const NormPenaltyBackwardArgs<T>& args, const Launch& launch);

}  // namespace cuda
}  // namespace wgan_fast
