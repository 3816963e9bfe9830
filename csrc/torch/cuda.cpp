// Nothing here needs a GPU, a driver or a CUDA build of PyTorch to be loaded: the CUDA runtime is
// linked statically, and the one function of libtorch_cuda.so is looked up when a kernel is run.
#include "cuda.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <map>
#include <mutex>
#include <utility>

namespace wgan_fast {

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

// A ticket that is zero when the next kernel on the stream begins.
//
// The launches of a stream come one after the other, so they share one, which lives for ever and
// which every launch leaves at zero. What a captured graph replays may run beside them: it gets its
// own, and so does the stream that stands for another one in every thread.
template <class Zero>
static Tensor ticket_of(cudaStream_t stream, int32_t device, Zero zero) {
  cudaStreamCaptureStatus status;
  check(cudaStreamIsCapturing(stream, &status));
  if (status != cudaStreamCaptureStatusNone || stream == cudaStreamPerThread) return zero();
  static std::mutex mutex;
  static auto& of_streams = *new std::map<std::pair<int32_t, cudaStream_t>, Tensor>;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto key = std::make_pair(device, stream);
  auto found = of_streams.find(key);
  if (found == of_streams.end()) found = of_streams.emplace(key, zero()).first;
  return found->second;
}

cuda::Workspace Cuda::workspace(size_t bytes, void* self) {
  auto& on = *static_cast<Cuda*>(self);
  const cudaStream_t stream = on.launch_.stream;
  on.memory_ = on.empty_vector(static_cast<int64_t>(bytes), ScalarType::Byte);
  on.ticket_ = ticket_of(stream, on.samples_.get_device_index(), [&] {
    Tensor zero = on.empty_vector(sizeof(unsigned), ScalarType::Byte);
    check(cudaMemsetAsync(zero.mutable_data_ptr(), 0, sizeof(unsigned), stream));
    return zero;
  });
  return {on.memory_->mutable_data_ptr(), data<unsigned>(*on.ticket_)};
}

}  // namespace wgan_fast
