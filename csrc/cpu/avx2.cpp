// The kernels for x86 processors with AVX2 and FMA (x86-64-v3).
#if defined(__x86_64__)
#define WGAN_FAST_ISA avx2
#define WGAN_FAST_TARGET "avx2,fma"
#include "instruction_set.h"
#endif
