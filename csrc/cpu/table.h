// What each instruction set provides: the inner loops, one entry for each element type.
#pragma once

#include "../common/arguments.h"

namespace wgan_fast {

template <class T>
struct KernelTable {
  void (*interpolate)(const InterpolateArgs<T>&, bool past_caches, int64_t begin, int64_t end);
  void (*interpolate_backward)(const InterpolateBackwardArgs<T>&, bool past_caches, int64_t begin,
                               int64_t end);
  double (*sum_of_squares)(const T*, int64_t n);
  void (*sums_of_rows)(const T*, int64_t stride, int64_t dim, int64_t rows, double* out);
  double (*finish_rows)(const NormPenaltyArgs<T>&, int64_t first, int64_t rows, double* sums);
  void (*norm_penalty_backward)(const NormPenaltyBackwardArgs<T>&, bool past_caches, int64_t begin,
                                int64_t end);
};

struct KernelTables {
  KernelTable<float> f32;
  KernelTable<double> f64;
  KernelTable<Half> f16;
  KernelTable<BFloat16> bf16;
};

namespace baseline {
const KernelTables& tables();
}
#if defined(__x86_64__)
namespace avx2 {
const KernelTables& tables();
}
namespace avx512 {
const KernelTables& tables();
}
#endif

}  // namespace wgan_fast
