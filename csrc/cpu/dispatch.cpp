// Chooses the instruction set once, and cuts each op into pieces for the threads.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "table.h"

namespace wgan_fast {
namespace {

// Work below this many elements is not worth waking a thread for.
constexpr int64_t kGrain = 32768;
// Outputs of more bytes than this are written past the caches. A core reaches 32 MiB of third-level
// cache on most of AMD's processors, and no more than that of what it shares on Intel's; what the
// system tells is not to be trusted in a virtual machine, which may see the whole of its host's.
constexpr int64_t kCacheBytes = 32 << 20;
// The forward sum cuts long rows into segments of this many elements. Part of the result: the
// order of summation follows from it.
constexpr int64_t kSegment = 16384;

struct Choice {
  const char* name;
  const KernelTables* tables;
};

bool allowed(const char* name) {
  const char* wanted = std::getenv("WGAN_FAST_CPU_CAPABILITY");
  return wanted == nullptr || *wanted == '\0' || std::strcmp(wanted, name) == 0;
}

const Choice& choice() {
  static const Choice chosen = [] {
#if defined(__x86_64__)
    __builtin_cpu_init();
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vl");
    if (avx512 && allowed("avx512")) return Choice{"avx512", &avx512::tables()};
    if (avx2 && allowed("avx2")) return Choice{"avx2", &avx2::tables()};
#endif
    return Choice{"baseline", &baseline::tables()};
  }();
  return chosen;
}

int64_t cache_bytes() {
  static const int64_t bytes = [] {
    const char* wanted = std::getenv("WGAN_FAST_CPU_CACHE");
    return wanted == nullptr || *wanted == '\0' ? kCacheBytes : std::strtoll(wanted, nullptr, 10);
  }();
  return bytes;
}

template <class T>
const KernelTable<T>& table();
template <>
const KernelTable<float>& table() {
  return choice().tables->f32;
}
template <>
const KernelTable<double>& table() {
  return choice().tables->f64;
}
template <>
const KernelTable<Half>& table() {
  return choice().tables->f16;
}
template <>
const KernelTable<BFloat16>& table() {
  return choice().tables->bf16;
}

template <class F>
void run(ParallelFor parallel_for, int64_t count, int64_t grain, F body) {
  parallel_for(
      count, grain,
      [](int64_t begin, int64_t end, void* context) { (*static_cast<F*>(context))(begin, end); },
      &body);
}

// Runs body(past_caches, begin, end) over `count` packed elements, of which `outputs` arrays are
// written.
template <class T, class F>
void run_elements(int64_t count, int64_t outputs, ParallelFor parallel_for, F body) {
  const bool past_caches = count * outputs * static_cast<int64_t>(sizeof(T)) > cache_bytes();
  run(parallel_for, count, kGrain,
      [&](int64_t begin, int64_t end) { body(past_caches, begin, end); });
}

// Rows of at most a segment: an item is as many whole rows as fit in one.
template <class T>
double norm_penalty_of_short_rows(const NormPenaltyArgs<T>& args, ParallelFor parallel_for) {
  constexpr int64_t most = 1024;
  const int64_t rows = std::clamp<int64_t>(kSegment / args.dim, 1, most);
  const int64_t items = (args.batch + rows - 1) / rows;
  std::vector<double> total(items);
  run(parallel_for, items, std::max<int64_t>(1, kGrain / (rows * args.dim)),
      [&](int64_t begin, int64_t end) {
        double sums[most];
        for (int64_t item = begin; item < end; ++item) {
          const int64_t first = item * rows;
          const int64_t count = std::min(rows, args.batch - first);
          const auto& g = args.gradients;
          table<T>().sums_of_rows(g.data + first * g.stride, g.stride, args.dim, count, sums);
          total[item] = table<T>().finish_rows(args, first, count, sums);
        }
      });
  double sum = 0;
  for (double part : total) sum += part;
  return sum;
}

template <class T>
double norm_penalty_of_long_rows(const NormPenaltyArgs<T>& args, ParallelFor parallel_for) {
  const int64_t segments = (args.dim + kSegment - 1) / kSegment;
  std::vector<double> partial(args.batch * segments);
  run(parallel_for, args.batch * segments, std::max<int64_t>(1, kGrain / kSegment),
      [&](int64_t begin, int64_t end) {
        for (int64_t item = begin; item < end; ++item) {
          const int64_t start = (item % segments) * kSegment;
          const T* row = args.gradients.data + (item / segments) * args.gradients.stride;
          partial[item] =
              table<T>().sum_of_squares(row + start, std::min(kSegment, args.dim - start));
        }
      });
  double total = 0;
  for (int64_t b = 0; b < args.batch; ++b) {
    double sum = 0;
    for (int64_t s = 0; s < segments; ++s) sum += partial[b * segments + s];
    total += table<T>().finish_rows(args, b, 1, &sum);
  }
  return total;
}

}  // namespace

const char* cpu_capability() { return choice().name; }

template <class T>
void interpolate(const InterpolateArgs<T>& args, ParallelFor parallel_for) {
  run_elements<T>(args.batch * args.dim, 1, parallel_for, [&](bool past_caches, auto... range) {
    table<T>().interpolate(args, past_caches, range...);
  });
}

template <class T>
void interpolate_backward(const InterpolateBackwardArgs<T>& args, ParallelFor parallel_for) {
  run_elements<T>(args.batch * args.dim, 2, parallel_for, [&](bool past_caches, auto... range) {
    table<T>().interpolate_backward(args, past_caches, range...);
  });
}

template <class T>
void norm_penalty(const NormPenaltyArgs<T>& args, ParallelFor parallel_for) {
  const double total = args.dim <= kSegment ? norm_penalty_of_short_rows(args, parallel_for)
                                            : norm_penalty_of_long_rows(args, parallel_for);
  if (args.reduce) *args.penalty = static_cast<compute_t<T>>(args.scale * total);
}

template <class T>
void norm_penalty_backward(const NormPenaltyBackwardArgs<T>& args, ParallelFor parallel_for) {
  run_elements<T>(args.batch * args.dim, 1, parallel_for, [&](bool past_caches, auto... range) {
    table<T>().norm_penalty_backward(args, past_caches, range...);
  });
}

#define WGAN_FAST_INSTANTIATE(T)                                                         \
  template void interpolate<T>(const InterpolateArgs<T>&, ParallelFor);                  \
  template void interpolate_backward<T>(const InterpolateBackwardArgs<T>&, ParallelFor); \
  template void norm_penalty<T>(const NormPenaltyArgs<T>&, ParallelFor);                 \
  template void norm_penalty_backward<T>(const NormPenaltyBackwardArgs<T>&, ParallelFor);
WGAN_FAST_INSTANTIATE(float)
WGAN_FAST_INSTANTIATE(double)
WGAN_FAST_INSTANTIATE(Half)
WGAN_FAST_INSTANTIATE(BFloat16)

}  // namespace wgan_fast
