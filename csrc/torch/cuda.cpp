// The CUDA kernels, registered with PyTorch and run on its current stream.
//
// Nothing here needs a GPU, a driver or a CUDA build of PyTorch to be loaded: the CUDA runtime is
// linked statically, and the one function of libtorch_cuda.so is looked up when a kernel is run.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <torch/csrc/stable/accelerator.h>

#include <map>
#include <mutex>
#include <utility>

#include "../cuda/kernels.h"
#include "ops.h"

namespace wgan_fast {
namespace {

void check(cudaError_t error) {
  STD_TORCH_CHECK(error == cudaSuccess, "wgan_fast: CUDA error: ", cudaGetErrorString(error));
}

// Target 2.11 of the stable ABI has no stream handles, but every libtorch_cuda.so has this
// function.
cudaStream_t current_stream(int32_t device) {
  using Function = AOTITorchError (*)(int32_t, void**);
  static const auto function = [] {
    void* library = dlopen("libtorch_cuda.so", RTLD_NOLOAD | RTLD_LAZY);
    void* symbol = library ? dlsym(library, "aoti_torch_get_current_cuda_stream") : nullptr;
    return reinterpret_cast<Function>(symbol);
  }();
  STD_TORCH_CHECK(function != nullptr,
                  "wgan_fast: this PyTorch has no CUDA (aoti_torch_get_current_cuda_stream of "
                  "libtorch_cuda.so was not found)");
  void* stream = nullptr;
  STABLE_TORCH_ERROR_CODE_CHECK(function(device, &stream));
  return static_cast<cudaStream_t>(stream);
}

Tensor empty_bytes(const Tensor& like, size_t bytes) {
  const auto size = static_cast<int64_t>(bytes);
  const int64_t stride = 1;
  return empty(like, 1, &size, &stride, ScalarType::Byte);
}

// A ticket that is zero when the next kernel on the stream begins.
//
// The launches of a stream come one after the other, so they share one, which lives for ever and
// which every launch leaves at zero. What a captured graph replays may run beside them: it gets its
// own, and so does the stream that stands for another one in every thread.
class Ticket {
 public:
  Ticket(const Tensor& like, cudaStream_t stream) {
    cudaStreamCaptureStatus status;
    check(cudaStreamIsCapturing(stream, &status));
    if (status == cudaStreamCaptureStatusNone && stream != cudaStreamPerThread) {
      static std::mutex mutex;
      static auto& of_streams = *new std::map<std::pair<int32_t, cudaStream_t>, Tensor>;
      const std::lock_guard<std::mutex> lock(mutex);
      const auto key = std::make_pair(like.get_device_index(), stream);
      auto found = of_streams.find(key);
      if (found == of_streams.end()) found = of_streams.emplace(key, zero(like, stream)).first;
      memory_ = found->second;
    } else {
      memory_ = zero(like, stream);
    }
  }
  unsigned* data() const { return static_cast<unsigned*>(memory_.mutable_data_ptr()); }

 private:
  static Tensor zero(const Tensor& like, cudaStream_t stream) {
    Tensor memory = empty_bytes(like, sizeof(unsigned));
    check(cudaMemsetAsync(memory.mutable_data_ptr(), 0, sizeof(unsigned), stream));
    return memory;
  }

  Tensor memory_;
};

struct Cuda {
  class Scope {
   public:
    explicit Scope(const Tensor& samples)
        : samples_(samples),
          guard_(samples.get_device_index()),
          launch_{current_stream(samples.get_device_index())} {}

    template <class Args>
    void interpolate(const Args& args) {
      check(cuda::interpolate(args, launch_));
    }
    template <class Args>
    void interpolate_backward(const Args& args) {
      check(cuda::interpolate_backward(args, launch_));
    }
    template <class Args>
    void norm_penalty(const Args& args) {
      // Given back to PyTorch before the kernel has run: whoever gets it next on this stream comes
      // after the kernel.
      const Tensor memory = empty_bytes(samples_, cuda::norm_penalty_workspace_bytes(args));
      const Ticket ticket(samples_, launch_.stream);
      check(cuda::norm_penalty(args, {memory.mutable_data_ptr(), ticket.data()}, launch_));
    }
    template <class Args>
    void norm_penalty_backward(const Args& args) {
      check(cuda::norm_penalty_backward(args, launch_));
    }

   private:
    const Tensor& samples_;
    torch::stable::accelerator::DeviceGuard guard_;
    cuda::Launch launch_;
  };
};

}  // namespace
}  // namespace wgan_fast

STABLE_TORCH_LIBRARY_IMPL(wgan_fast, CUDA, library) {
  wgan_fast::register_ops<wgan_fast::Cuda>(library);
}
