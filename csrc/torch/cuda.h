// The CUDA kernels on PyTorch's current stream.
#pragma once

#include <torch/csrc/stable/accelerator.h>

#include <optional>

#include "../cuda/kernels.h"
#include "tensors.h"

namespace wgan_fast {

void check(cudaError_t error);
cudaStream_t current_stream(int32_t device);

class Cuda : public Runner {
 public:
  explicit Cuda(const Tensor& samples)
      : Runner(samples),
        guard_(samples.get_device_index()),
        launch_{current_stream(samples.get_device_index()), workspace, this} {}

  template <class Args>
  void operator()(const Args& args) {
    check(cuda::run(args, launch_));
  }

 private:
  static cuda::Workspace workspace(size_t bytes, void* self);

  torch::stable::accelerator::DeviceGuard guard_;
  cuda::Launch launch_;
  // Given back to PyTorch before the kernel has run: whoever gets them next on this stream comes
  // after the kernel.
  std::optional<Tensor> memory_;
  std::optional<Tensor> ticket_;
};

}  // namespace wgan_fast
