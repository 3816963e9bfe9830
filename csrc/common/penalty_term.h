// The penalty of one gradient norm n, and its derivative; the one place where a variant is written.
//
//   s(n) = n - target                     two-sided
//   s(n) = max(n - target, 0)             one-sided (WGAN-LP, arXiv 1709.08894)
//   term(n) = |s(n)|^power                power 2: WGAN-GP, arXiv 1704.00028, equation 3
//
// target 0 with power 2 is the zero-centred penalty (arXiv 1902.03984), with power 6 WGAN-div
// (arXiv 1712.01026).
#pragma once

#include <math.h>

#include "host_device.h"

namespace wgan_fast {

template <class A>
struct PenaltyTerm {
  A target;
  A power;
  bool one_sided;

  WGAN_FAST_HOST_DEVICE A value(A norm) const {
    const A s = slack(norm);
    return power == A(2) ? s * s : A(pow(fabs(s), power));
  }

  WGAN_FAST_HOST_DEVICE A derivative(A norm) const {
    const A s = slack(norm);
    if (power == A(2)) return A(2) * s;
    const A magnitude = power * A(pow(fabs(s), power - A(1)));
    return s == A(0) ? A(0) : (s < A(0) ? -magnitude : magnitude);
  }

 private:
  // NaN must come through: the comparison keeps it where max() would lose it.
  WGAN_FAST_HOST_DEVICE A slack(A norm) const {
    const A s = norm - target;
    return one_sided && s < A(0) ? A(0) : s;
  }
};

}  // namespace wgan_fast
