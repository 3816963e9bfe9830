// The kernels for x86 processors with AVX-512 (x86-64-v4). GCC is asked for vectors of 256 bits:
// Zen 4 splits those of 512 when it writes them, and interpolation took 1.02 to 1.2 times as long
// with them. Clang has no such attribute, and would ignore the others with it.
#if defined(__x86_64__)
#define WGAN_FAST_ISA avx512
#if defined(__clang__)
#define WGAN_FAST_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"
#else
#define WGAN_FAST_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=256"
#endif
#define WGAN_FAST_STORE 64
#include "instruction_set.h"
#endif
