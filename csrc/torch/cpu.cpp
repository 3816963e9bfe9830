#include "cpu.h"

#include <torch/csrc/stable/ops.h>

#include <exception>
#include <string>

#include "../cpu/settings.h"

namespace wgan_fast {

void torch_parallel(int64_t count, int64_t grain, void (*body)(int64_t, int64_t, void*),
                    void* context) {
  torch::stable::parallel_for(0, count, grain,
                              [&](int64_t begin, int64_t end) { body(begin, end, context); });
}

}  // namespace wgan_fast

#define WGAN_FAST_EXPORT extern "C" __attribute__((visibility("default")))

// For Python, right after loading: what is wrong in the environment, or null.
WGAN_FAST_EXPORT const char* wgan_fast_cpu_settings_error() {
  static std::string error;
  try {
    wgan_fast::cpu::instruction_set();
    wgan_fast::cpu::cache_bytes();
    return nullptr;
  } catch (const std::exception& refusal) {
    error = refusal.what();
    return error.c_str();
  }
}

// For the report of `python -m wgan_fast`; only where the settings have no error.
WGAN_FAST_EXPORT const char* wgan_fast_cpu_capability() {
  return wgan_fast::cpu::name_of(wgan_fast::cpu::instruction_set());
}
