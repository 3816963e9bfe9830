// What the environment says of the CPU kernels. Read once; a wrong value is a std::runtime_error
// that tells what was given and what is allowed.
#pragma once

#include <cstdint>

namespace wgan_fast {
namespace cpu {

enum class InstructionSet { baseline, avx2, avx512 };

// The best instruction set that the processor has, and none above the one that
// WGAN_FAST_CPU_CAPABILITY names: "avx512", "avx2" or "baseline".
InstructionSet instruction_set();
const char* name_of(InstructionSet set);

// Outputs of more bytes than this are written past the caches, to the same bits. 32 MiB, or what
// WGAN_FAST_CPU_CACHE says.
int64_t cache_bytes();

}  // namespace cpu
}  // namespace wgan_fast
