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
  uint32_t word[4];
};

// Ten rounds over the 128-bit counter `c` under the 64-bit key (k0, k1).
WGAN_FAST_HOST_DEVICE inline Philox4x32 philox4x32_10(Philox4x32 c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c.word[0];
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c.word[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.word[1] ^ k0, static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.word[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9u;  // the golden ratio
    k1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return c;
}

// epsilon of one sample: 24 random bits as a float in [0, 1), exact in float and in double.
WGAN_FAST_HOST_DEVICE inline float uniform_epsilon(uint64_t seed, uint64_t sample) {
  const Philox4x32 counter = {
      {static_cast<uint32_t>(sample), static_cast<uint32_t>(sample >> 32), 0u, 0u}};
  const Philox4x32 random =
      philox4x32_10(counter, static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return static_cast<float>(random.word[0] >> 8) * 0x1p-24f;
}

}  // namespace wgan_fast
