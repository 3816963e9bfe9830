// norm_penalty: norm_penalty.h, for every instruction set and on all threads.
#include <algorithm>
#include <vector>

#define WGAN_FAST_LOOPS "norm_penalty.h"
#include "instruction_sets.h"
#include "kernels.h"
#include "ranges.h"

namespace wgan_fast {
namespace cpu {
namespace {

// The forward sum cuts long rows into segments of this many elements. Part of the result: the
// order of summation follows from it.
constexpr int64_t kSegment = 16384;

// Rows of at most a segment: an item is as many whole rows as fit in one.
template <class T>
double terms_of_short_rows(const NormPenaltyArgs<T>& args, ParallelFor parallel_for) {
  const auto sums_of_rows = WGAN_FAST_CHOSEN(sums_of_rows<T>);
  const auto finish_rows = WGAN_FAST_CHOSEN(finish_rows<T>);
  constexpr int64_t most = 1024;
  const int64_t rows = std::clamp<int64_t>(kSegment / args.dim, 1, most);
  const int64_t items = (args.batch + rows - 1) / rows;
  std::vector<double> total(items);
  run_ranges(parallel_for, items, std::max<int64_t>(1, kGrain / (rows * args.dim)),
             [&](int64_t begin, int64_t end) {
               double sums[most];
               for (int64_t item = begin; item < end; ++item) {
                 const int64_t first = item * rows;
                 const int64_t count = std::min(rows, args.batch - first);
                 const auto& g = args.gradients;
                 sums_of_rows(g.data + first * g.stride, g.stride, args.dim, count, sums);
                 total[item] = finish_rows(args, first, count, sums);
               }
             });
  double sum = 0;
  for (double part : total) sum += part;
  return sum;
}

template <class T>
double terms_of_long_rows(const NormPenaltyArgs<T>& args, ParallelFor parallel_for) {
  const auto sum_of_squares = WGAN_FAST_CHOSEN(sum_of_squares<T>);
  const auto finish_rows = WGAN_FAST_CHOSEN(finish_rows<T>);
  const int64_t segments = (args.dim + kSegment - 1) / kSegment;
  std::vector<double> partial(args.batch * segments);
  run_ranges(parallel_for, args.batch * segments, std::max<int64_t>(1, kGrain / kSegment),
             [&](int64_t begin, int64_t end) {
               for (int64_t item = begin; item < end; ++item) {
                 const int64_t start = (item % segments) * kSegment;
                 const T* row = args.gradients.data + (item / segments) * args.gradients.stride;
                 partial[item] = sum_of_squares(row + start, std::min(kSegment, args.dim - start));
               }
             });
  double total = 0;
  for (int64_t b = 0; b < args.batch; ++b) {
    double sum = 0;
    for (int64_t s = 0; s < segments; ++s) sum += partial[b * segments + s];
    total += finish_rows(args, b, 1, &sum);
  }
  return total;
}

}  // namespace

template <class T>
void run(const NormPenaltyArgs<T>& args, ParallelFor parallel_for) {
  const double total = args.dim <= kSegment ? terms_of_short_rows(args, parallel_for)
                                            : terms_of_long_rows(args, parallel_for);
  if (args.reduce) *args.penalty = static_cast<compute_t<T>>(args.scale * total);
}

template <class T>
void run(const NormPenaltyBackwardArgs<T>& args, ParallelFor parallel_for) {
  run_elements(args, args.batch * args.dim, 1, parallel_for,
               WGAN_FAST_CHOSEN(norm_penalty_backward<T>));
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, NormPenaltyArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, NormPenaltyBackwardArgs)

}  // namespace cpu
}  // namespace wgan_fast
