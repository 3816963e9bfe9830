// The kernels for x86 processors with AVX-512 (x86-64-v4).
#if defined(__x86_64__)
#define WGAN_FAST_ISA avx512
#define WGAN_FAST_TARGET "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,prefer-vector-width=512"
#include "instruction_set.h"
#endif
