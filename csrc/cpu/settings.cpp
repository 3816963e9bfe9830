#include "settings.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace wgan_fast {
namespace cpu {
namespace {

// A core reaches 32 MiB of third-level cache on most of AMD's processors, and no more than that of
// what it shares on Intel's; what the system tells is not to be trusted in a virtual machine, which
// may see the whole of its host's.
constexpr int64_t kCacheBytes = 32 << 20;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

[[noreturn]] void refuse(const char* name, const std::string& allowed, const std::string& given) {
  throw std::runtime_error("the environment variable " + std::string(name) + " must be " + allowed +
                           ", or empty, but it is '" + given + "'");
}

InstructionSet best_of_the_processor() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (avx512) return InstructionSet::avx512;
  if (avx2) return InstructionSet::avx2;
#endif
  return InstructionSet::baseline;
}

InstructionSet most_wanted() {
  constexpr const char* name = "WGAN_FAST_CPU_CAPABILITY";
  const std::string given = variable(name);
  if (given.empty()) return InstructionSet::avx512;
  for (auto set : {InstructionSet::baseline, InstructionSet::avx2, InstructionSet::avx512}) {
    if (given == name_of(set)) return set;
  }
  refuse(name, "avx512, avx2 or baseline", given);
}

}  // namespace

InstructionSet instruction_set() {
  static const InstructionSet chosen = std::min(best_of_the_processor(), most_wanted());
  return chosen;
}

const char* name_of(InstructionSet set) {
  switch (set) {
    case InstructionSet::avx512:
      return "avx512";
    case InstructionSet::avx2:
      return "avx2";
    default:
      return "baseline";
  }
}

int64_t cache_bytes() {
  static const int64_t bytes = [] {
    constexpr const char* name = "WGAN_FAST_CPU_CACHE";
    const std::string given = variable(name);
    if (given.empty()) return kCacheBytes;
    errno = 0;
    const int64_t value = std::strtoll(given.c_str(), nullptr, 10);
    const bool digits = given.find_first_not_of("0123456789") == std::string::npos;
    if (!digits || errno != 0) refuse(name, "a number of bytes, 0 or more", given);
    return value;
  }();
  return bytes;
}

}  // namespace cpu
}  // namespace wgan_fast
