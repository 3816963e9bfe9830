// The kernels for any processor that the compiler was told about: x86-64-v2, aarch64 with NEON.
#define WGAN_FAST_ISA baseline
#if defined(__SSE2__)
#define WGAN_FAST_STORE 16
#endif
#include "instruction_set.h"
