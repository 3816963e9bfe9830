// The CPU kernels on PyTorch's thread pool.
#pragma once

#include "../cpu/kernels.h"
#include "tensors.h"

namespace wgan_fast {

void torch_parallel(int64_t count, int64_t grain, void (*body)(int64_t, int64_t, void*),
                    void* context);

class Cpu : public Runner {
 public:
  using Runner::Runner;

  template <class Args>
  void operator()(const Args& args) {
    cpu::run(args, torch_parallel);
  }
};

}  // namespace wgan_fast
