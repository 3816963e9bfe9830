// The CPU kernels, registered with PyTorch and run on its thread pool.
#include <torch/csrc/stable/ops.h>

#include "../cpu/kernels.h"
#include "ops.h"

namespace wgan_fast {
namespace {

void torch_parallel(int64_t count, int64_t grain, void (*body)(int64_t, int64_t, void*),
                    void* context) {
  torch::stable::parallel_for(0, count, grain,
                              [&](int64_t begin, int64_t end) { body(begin, end, context); });
}

struct Cpu {
  struct Scope {
    explicit Scope(const Tensor&) {}
    template <class Args>
    void interpolate(const Args& args) {
      wgan_fast::interpolate(args, torch_parallel);
    }
    template <class Args>
    void interpolate_backward(const Args& args) {
      wgan_fast::interpolate_backward(args, torch_parallel);
    }
    template <class Args>
    void norm_penalty(const Args& args) {
      wgan_fast::norm_penalty(args, torch_parallel);
    }
    template <class Args>
    void norm_penalty_backward(const Args& args) {
      wgan_fast::norm_penalty_backward(args, torch_parallel);
    }
  };
};

}  // namespace
}  // namespace wgan_fast

STABLE_TORCH_LIBRARY_IMPL(wgan_fast, CPU, library) {
  wgan_fast::register_ops<wgan_fast::Cpu>(library);
}

// For the report of `python -m wgan_fast`.
extern "C" __attribute__((visibility("default"))) const char* wgan_fast_cpu_capability() {
  return wgan_fast::cpu_capability();
}
