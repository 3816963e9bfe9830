// One row that is normalised, scaled and shifted: the backward pass, and the backward pass of that.
// The one place where their formulas are written.
//
// A row is `x` of M elements. With d = x - mean, n = d rstd and y = w n + b, and a bar for the mean
// over the row,
//
//   P(h) = h - bar(h) - n bar(h n)                     (without a mean: P(h) = h - n bar(h n))
//
// projects what cannot change n out of h, since the derivative of n is rstd P. Backward, with
// g = w grad_y:
//
//   grad_x      = rstd P(g)
//   grad_weight = sum over the elements of this weight of grad_y n,   grad_bias = that of grad_y
//
// Double backward: gradients of the inner product of (grad_x, grad_weight, grad_bias) with their
// tangents (v, a, b). The derivative of rstd is -rstd^2 n / M. With h = a grad_y and the means
// e = bar(v n), c = bar(g n), q = bar(v P(g)) = bar(g v) - bar(g) bar(v) - c e:
//
//   grad_grad_y = w rstd P(v) + a n + b
//   grad_x      = -rstd^2 (q n + e P(g) + c P(v)) + rstd P(h)
//   grad_weight = sum over the elements of this weight of grad_y rstd P(v)
//
// Source: Ba, Kiros and Hinton, "Layer Normalization", arXiv 1607.06450, equation 3; Wu and He,
// "Group Normalization", arXiv 1803.08494, equation 1; Zhang and Sennrich, "Root Mean Square Layer
// Normalization", arXiv 1910.07467, equation 4, differentiated twice.
#pragma once

#include "host_device.h"

namespace wgan_fast {

// Sums over the elements of a row, or of a part of it.
template <class C>
struct BackwardSums {
  C g, gn;
};
template <class C>
struct DoubleBackwardSums {
  C g, gn, v, vn, gv, h, hn;
};

// What the sums of a row come to:  grad_x = w grad_y + slope d + shift  with w = rstd weight.
template <class C>
struct BackwardRow {
  C rstd, slope, shift;

  WGAN_FAST_HOST_DEVICE BackwardRow() {}
  WGAN_FAST_HOST_DEVICE BackwardRow(C rstd, C slope, C shift)
      : rstd(rstd), slope(slope), shift(shift) {}
  WGAN_FAST_HOST_DEVICE BackwardRow(const BackwardSums<C>& sum, C rstd, C size, bool centred)
      : rstd(rstd),
        slope(-rstd * rstd * (sum.gn / size)),
        shift(centred ? -rstd * (sum.g / size) : C(0)) {}

  template <class D>
  WGAN_FAST_HOST_DEVICE BackwardRow<D> rounded() const {
    return {D(rstd), D(slope), D(shift)};
  }
  WGAN_FAST_HOST_DEVICE C weight(C weight, C) const { return rstd * weight; }
  WGAN_FAST_HOST_DEVICE C grad_x(C w, C grad_y, C d) const {
    return w * grad_y + (slope * d + shift);
  }
};

// rstd P(v) = rstd v + slope d + shift
// grad_x    = w grad_y + of_v v + of_d d + constant  with w = slope weight + rstd a
template <class C>
struct DoubleBackwardRow {
  C rstd, slope, shift;
  C of_v, of_d, constant;

  WGAN_FAST_HOST_DEVICE DoubleBackwardRow() {}
  WGAN_FAST_HOST_DEVICE DoubleBackwardRow(C rstd, C slope, C shift, C of_v, C of_d, C constant)
      : rstd(rstd), slope(slope), shift(shift), of_v(of_v), of_d(of_d), constant(constant) {}
  WGAN_FAST_HOST_DEVICE DoubleBackwardRow(const DoubleBackwardSums<C>& sum, C rstd, C size,
                                          bool centred)
      : rstd(rstd) {
    const C g = centred ? sum.g / size : C(0);
    const C v = centred ? sum.v / size : C(0);
    const C h = centred ? sum.h / size : C(0);
    const C c = sum.gn / size;
    const C e = sum.vn / size;
    const C q = sum.gv / size - g * v - c * e;
    const C square = rstd * rstd;
    slope = -square * e;
    shift = -rstd * v;
    of_v = -square * c;
    of_d = -square * (rstd * (q - 2 * c * e) + sum.hn / size);
    constant = square * (e * g + c * v) - rstd * h;
  }

  template <class D>
  WGAN_FAST_HOST_DEVICE DoubleBackwardRow<D> rounded() const {
    return {D(rstd), D(slope), D(shift), D(of_v), D(of_d), D(constant)};
  }
  WGAN_FAST_HOST_DEVICE C weight(C weight, C tangent) const {
    return slope * weight + rstd * tangent;
  }
  WGAN_FAST_HOST_DEVICE C projected(C v, C d) const { return rstd * v + (slope * d + shift); }
  WGAN_FAST_HOST_DEVICE C grad_x(C w, C grad_y, C v, C d) const {
    return w * grad_y + (of_v * v + (of_d * d + constant));
  }
  // From the sums of the elements that have a weight, where that and its tangent count as 1 and 0.
  WGAN_FAST_HOST_DEVICE C grad_weight(const DoubleBackwardSums<C>& sum) const {
    return rstd * sum.gv + (slope * (sum.gn / rstd) + shift * sum.g);
  }
};

// Adds the sums of a part of the row whose elements have the weight `w` and the tangent `a`.
template <class C>
WGAN_FAST_HOST_DEVICE inline void add(BackwardSums<C>& total, const BackwardSums<C>& part, C w, C) {
  total.g += w * part.g;
  total.gn += w * part.gn;
}
template <class C>
WGAN_FAST_HOST_DEVICE inline void add(DoubleBackwardSums<C>& total,
                                      const DoubleBackwardSums<C>& part, C w, C a) {
  total.g += w * part.g;
  total.gn += w * part.gn;
  total.v += part.v;
  total.vn += part.vn;
  total.gv += w * part.gv;
  total.h += part.h + a * part.g;
  total.hn += part.hn + a * part.gn;
}

}  // namespace wgan_fast
