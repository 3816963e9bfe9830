// The kernels for x86 processors with AVX2 and FMA (x86-64-v3).
#if defined(__x86_64__)
#define WGAN_FAST_ISA avx2
#define WGAN_FAST_TARGET "avx2,fma"
#define WGAN_FAST_STORE 32
#include "instruction_set.h"
#endif
