// Philox4x32-10: a counter-based random number generator; the same numbers on every backend.
//
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
// The mixing factor of sample b is a function of (seed, b) alone, so a batch cut into slices, or
// drawn on another device, in another order or with another dtype, gets the same factors bit for
// bit.
#pragma once

#include <cstdint>

#include "host_device.h"

namespace wgan_fast {

struct Philox4x32 {
  uint32_t a, b, c, d;
};

WGAN_FAST_HOST_DEVICE inline Philox4x32 philox_round(Philox4x32 x, uint32_t k0, uint32_t k1) {
  const uint64_t p = static_cast<uint64_t>(0xD2511F53u) * x.a;
  const uint64_t q = static_cast<uint64_t>(0xCD9E8D57u) * x.c;
  return {static_cast<uint32_t>(q >> 32) ^ x.b ^ k0, static_cast<uint32_t>(q),
          static_cast<uint32_t>(p >> 32) ^ x.d ^ k1, static_cast<uint32_t>(p)};
}

// Ten rounds over the 128-bit counter `x` under the 64-bit key (k0, k1). Written out and not as a
// loop: then a loop over samples has no loop inside, and compilers turn it into vector code.
WGAN_FAST_HOST_DEVICE inline Philox4x32 philox4x32_10(Philox4x32 x, uint32_t k0, uint32_t k1) {
  const uint32_t w0 = 0x9E3779B9u;  // the golden ratio
  const uint32_t w1 = 0xBB67AE85u;  // sqrt(3) - 1
  x = philox_round(x, k0, k1);
  x = philox_round(x, k0 + 1 * w0, k1 + 1 * w1);
  x = philox_round(x, k0 + 2 * w0, k1 + 2 * w1);
  x = philox_round(x, k0 + 3 * w0, k1 + 3 * w1);
  x = philox_round(x, k0 + 4 * w0, k1 + 4 * w1);
  x = philox_round(x, k0 + 5 * w0, k1 + 5 * w1);
  x = philox_round(x, k0 + 6 * w0, k1 + 6 * w1);
  x = philox_round(x, k0 + 7 * w0, k1 + 7 * w1);
  x = philox_round(x, k0 + 8 * w0, k1 + 8 * w1);
  return philox_round(x, k0 + 9 * w0, k1 + 9 * w1);
}

// epsilon of one sample: 24 random bits as a float in [0, 1), exact in float and in double.
WGAN_FAST_HOST_DEVICE inline float uniform_epsilon(uint64_t seed, uint64_t sample) {
  const Philox4x32 counter = {static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32), 0,
                              0};
  const Philox4x32 random =
      philox4x32_10(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return static_cast<float>(random.a >> 8) * 0x1p-24f;
}

}  // namespace wgan_fast
