// Compiles the inner loops of one file once for each instruction set, and chooses among them.
//
// The including file defines WGAN_FAST_LOOPS, the name of the file with the loops. What that
// defines is then in the namespaces baseline, avx2 and avx512.
//
// Everything from the standard library is included before a target is switched on: an inline
// function of another header, compiled for a newer processor, could otherwise be the copy that the
// linker keeps for everybody.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../common/arguments.h"
#include "../common/philox.h"
#include "number.h"
#include "settings.h"

// Any processor that the compiler was told about: x86-64-v2, aarch64 with NEON.
#define WGAN_FAST_ISA baseline
#if defined(__SSE2__)
#define WGAN_FAST_STORE 16
#endif
#include "instruction_set.h"

#if defined(__x86_64__)
// x86-64-v3.
#define WGAN_FAST_ISA avx2
#define WGAN_FAST_TARGET "avx2,fma"
#define WGAN_FAST_STORE 32
#include "instruction_set.h"

// x86-64-v4. GCC is asked for vectors of 256 bits: Zen 4 splits those of 512 when it writes them,
// and interpolation took 1.02 to 1.2 times as long with them. Clang has no such attribute, and
// would ignore the others with it.
#define WGAN_FAST_ISA avx512
#if defined(__clang__)
#define WGAN_FAST_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
#else
#define WGAN_FAST_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=256"
#endif
#define WGAN_FAST_STORE 64
#include "instruction_set.h"
#endif

namespace wgan_fast {
namespace cpu {

template <class F>
F* chosen(F* baseline, F* avx2, F* avx512) {
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return avx512;
    case InstructionSet::avx2:
      return avx2;
    default:
      return baseline;
  }
}

}  // namespace cpu
}  // namespace wgan_fast

// A function of WGAN_FAST_LOOPS, for the instruction set in use.
#if defined(__x86_64__)
#define WGAN_FAST_CHOSEN(function) chosen(baseline::function, avx2::function, avx512::function)
#else
#define WGAN_FAST_CHOSEN(function) (baseline::function)
#endif
