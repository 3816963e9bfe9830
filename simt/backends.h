// csrc/torch/backends.h for the simulated GPU: the operators of csrc/torch with the translated CUDA
// kernels, on tensors of the CPU. Includes the switches of a test (module.cpp sets them).
//
// Results are full of NaN until a kernel writes them, and so is the workspace.
#pragma once

#include <torch/csrc/stable/library.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "../cuda/kernels.h"
#include "tensors.h"
#if defined(SIMT_TRACE)
#include "runtime/trace.h"
#endif

namespace wgan_fast {

using Library = torch::stable::detail::StableLibrary;

struct Switches {
  unsigned max_blocks = 65536;
  int64_t shift = 0;            // results begin that many elements after an aligned address
  bool seed_in_memory = false;  // the kernels read the seed there, and are not given the number
};
inline Switches switches;

class Simulated : public Runner {
 public:
  using Runner::Runner;

  template <class Args>
  void operator()(Args args) {
    move_seed(args, 0);
    cuda::run(args, {nullptr, workspace, this, switches.max_blocks});
    if (ticket_ != nullptr && *ticket_ != 0) {
      throw std::runtime_error("the last block must leave the ticket at zero");
    }
  }

 protected:
  Tensor empty(int64_t dim, const int64_t* sizes, const int64_t* strides,
               ScalarType dtype) const override {
    int64_t last = 0;
    bool any = true;
    for (int64_t d = 0; d < dim; ++d) {
      any = any && sizes[d] > 0;
      last += (sizes[d] - 1) * strides[d];
    }
    const int64_t count = (any ? last + 1 : 0) + switches.shift;
    const int64_t stride = 1;
    const Tensor memory = Runner::empty(1, &count, &stride, dtype);
    int64_t bytes;
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_get_storage_size(memory.get(), &bytes));
    if (bytes > 0) std::memset(memory.mutable_data_ptr(), 0xff, static_cast<size_t>(bytes));
    watch(memory.mutable_data_ptr(), static_cast<size_t>(bytes));
    AtenTensorHandle handle;
    STABLE_TORCH_ERROR_CODE_CHECK(
        aoti_torch__reinterpret_tensor(memory.get(), dim, sizes, strides, switches.shift, &handle));
    return Tensor(handle);
  }

 private:
  static cuda::Workspace workspace(size_t bytes, void* self) {
    auto& on = *static_cast<Simulated*>(self);
    on.memory_.assign(bytes, 0xff);
    on.ticket_ = std::make_unique<unsigned>(0);
    watch(on.memory_.data(), bytes);
    watch(on.ticket_.get(), sizeof(unsigned));
    return {on.memory_.data(), on.ticket_.get()};
  }

  static void watch([[maybe_unused]] const void* memory, [[maybe_unused]] size_t bytes) {
#if defined(SIMT_TRACE)
    simt::watch(memory, bytes);
#endif
  }

  // For arguments that have an epsilon.
  template <class Args>
  auto move_seed(Args& args, int) -> decltype(void(args.epsilon)) {
    if (!switches.seed_in_memory || args.epsilon.given != nullptr) return;
    seed_ = std::make_unique<uint64_t>(args.epsilon.seed);
    args.epsilon.seed = 0;
    args.epsilon.device_seed = seed_.get();
  }
  template <class Args>
  void move_seed(Args&, long) {}

  std::vector<unsigned char> memory_;
  std::unique_ptr<unsigned> ticket_;
  std::unique_ptr<uint64_t> seed_;
};

}  // namespace wgan_fast

#define WGAN_FAST_REGISTER(register_operators)           \
  STABLE_TORCH_LIBRARY_IMPL(SIMT_MODULE, CPU, library) { \
    register_operators<wgan_fast::Simulated>(library);   \
  }
