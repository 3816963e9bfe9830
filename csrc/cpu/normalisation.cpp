// normalisation: normalisation.h, for every instruction set and on all threads.
#include <algorithm>
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "../common/normalised_row.h"
#include "kernels.h"

namespace wgan_fast {
namespace cpu {
namespace {

// A piece of row `row`: n elements from `first` on.
struct Stretch {
  int64_t row, first, n;
};

// Some samples, and in each of them some groups.
struct Share {
  int64_t first_sample, last_sample, first_group, last_group;
};

template <class T>
const compute_t<T>* tangent_weight(const NormalisationBackwardArgs<T>&) {
  return nullptr;
}
template <class T>
const compute_t<T>* tangent_weight(const NormalisationDoubleBackwardArgs<T>& args) {
  return args.tangent_weight;
}
template <class T>
const compute_t<T>* tangent_bias(const NormalisationBackwardArgs<T>&) {
  return nullptr;
}
template <class T>
const compute_t<T>* tangent_bias(const NormalisationDoubleBackwardArgs<T>& args) {
  return args.tangent_bias;
}

// The sums of a part of a row, and what those of a whole row come to.
template <class Args>
struct Pass;
template <class T>
struct Pass<NormalisationBackwardArgs<T>> {
  using Sums = BackwardSums<double>;
  using Row = BackwardRow<double>;
};
template <class T>
struct Pass<NormalisationDoubleBackwardArgs<T>> {
  using Sums = DoubleBackwardSums<double>;
  using Row = DoubleBackwardRow<double>;
};
template <class Args>
using sums_t = typename Pass<Args>::Sums;
template <class Args>
using row_t = typename Pass<Args>::Row;

// From the sums of the stretches of a row, one for each of its runs, or one for all of it.
template <class Args>
row_t<Args> row_of(const Args& args, int64_t row, const sums_t<Args>* parts) {
  const auto& at = args.at;
  const auto* a = tangent_weight(args);
  sums_t<Args> total = parts[0];
  if (at.run > 1) {
    total = {};
    const int64_t runs = at.size / at.run;
    const int64_t weight = row % at.groups * runs;
    for (int64_t k = 0; k < runs; ++k) {
      add(total, parts[k], at.weight == nullptr ? 1.0 : double{at.weight[weight + k]},
          a == nullptr ? 0.0 : double{a[weight + k]});
    }
  }
  return {total, at.rstd[row], static_cast<double>(at.size), at.mean != nullptr};
}

// The sums of two parts that have the same weight, or in which each element has its own.
template <class Sums>
Sums together(Sums a, const Sums& b) {
  add(a, b, 1.0, 0.0);
  return a;
}

void add_gradients(const BackwardRow<double>&, const BackwardSums<double>& run, double* grad_weight,
                   double* grad_bias) {
  *grad_weight += run.gn;
  *grad_bias += run.g;
}
void add_gradients(const DoubleBackwardRow<double>& row, const DoubleBackwardSums<double>& run,
                   double* grad_weight, double*) {
  *grad_weight += row.grad_weight(run);
}

}  // namespace
}  // namespace cpu
}  // namespace wgan_fast

#define WGAN_FAST_LOOPS "normalisation.h"
#include "instruction_sets.h"
#include "ranges.h"

namespace wgan_fast {
namespace cpu {
namespace {

// All of these are part of the result: the order of summation follows from them.
constexpr int64_t kSegment = 16384;  // elements of a long row that are taken at once
constexpr int64_t kFewRows = 16;     // fewer than this are cut into segments, if they are long
constexpr int64_t kChunks = 16;      // of the batch, at most, for the gradients of the weights
constexpr int64_t kShortRun = 32;    // shorter runs get a weight for each element

// The sums of the gradients of the weights; empty where they are not wanted.
struct Gradients {
  std::vector<double> weight, bias;

  template <class Args>
  Gradients(const Args& args, int64_t count)
      : weight(args.grad_weight == nullptr ? 0 : count),
        bias(std::is_same<row_t<Args>, BackwardRow<double>>::value ? weight.size() : 0) {}
  double* weight_at(int64_t i) { return weight.empty() ? nullptr : weight.data() + i; }
  double* bias_at(int64_t i) { return bias.empty() ? nullptr : bias.data() + i; }
};

// Adds up every `count`-th element: sums[i] = from[i] + from[i + count] + ...
void fold_chunks(const std::vector<double>& from, std::vector<double>& sums,
                 ParallelFor parallel_for) {
  const auto count = static_cast<int64_t>(sums.size());
  const auto size = static_cast<int64_t>(from.size());
  if (count == 0) return;
  run_ranges(parallel_for, count, kGrain, [&](int64_t begin, int64_t end) {
    std::copy(from.begin() + begin, from.begin() + end, sums.begin() + begin);
    for (int64_t chunk = count; chunk < size; chunk += count) {
      for (int64_t i = begin; i < end; ++i) sums[i] += from[chunk + i];
    }
  });
}

// An item is some samples and groups: as many as make up a grain, and no more chunks of samples
// than kChunks if each has gradients of the weights, which are added up afterwards.
template <class Args>
Gradients whole_rows_in_parallel(const Args& args, ParallelFor parallel_for) {
  const auto whole_rows = WGAN_FAST_CHOSEN(whole_rows<Args>);
  const auto& at = args.at;
  const int64_t samples = at.rows / at.groups, runs = at.size / at.run;
  const int64_t groups = std::clamp<int64_t>(kGrain / at.size, 1, at.groups);
  int64_t step = std::clamp<int64_t>(kGrain / (at.size * groups), 1, samples);
  if (args.grad_weight != nullptr) step = std::max(step, (samples + kChunks - 1) / kChunks);
  const int64_t chunks = (samples + step - 1) / step;
  const int64_t blocks = (at.groups + groups - 1) / groups;
  const int64_t weights = at.groups * runs;
  Gradients partial(args, chunks * weights), total(args, weights);
  const int64_t grain = std::max<int64_t>(1, kGrain / (at.size * groups * step));
  run_ranges(parallel_for, chunks * blocks, grain, [&](int64_t begin, int64_t end) {
    std::vector<sums_t<Args>> parts(at.run > 1 ? runs : 1);
    for (int64_t item = begin; item < end; ++item) {
      const int64_t chunk = item / blocks, block = item % blocks;
      const Share share = {chunk * step, std::min((chunk + 1) * step, samples), block * groups,
                           std::min((block + 1) * groups, at.groups)};
      whole_rows(args, share, partial.weight_at(chunk * weights), partial.bias_at(chunk * weights),
                 parts.data());
    }
  });
  fold_chunks(partial.weight, total.weight, parallel_for);
  fold_chunks(partial.bias, total.bias, parallel_for);
  return total;
}

// A row is cut into stretches, at most a segment of a run. First the sums of each stretch, then the
// elements, every stretch in all samples one after the other.
template <class Args>
Gradients long_rows_in_parallel(const Args& args, ParallelFor parallel_for) {
  using Sums = sums_t<Args>;
  const auto& at = args.at;
  const int64_t length = at.run > 1 ? at.run : at.size;
  const int64_t runs = at.size / length;
  const int64_t segments = (length + kSegment - 1) / kSegment;  // of a run
  const int64_t stretches = runs * segments;                    // of a row
  const auto stretch = [&](int64_t row, int64_t k) {
    const int64_t start = k % segments * kSegment;
    return Stretch{row, row * at.size + k / segments * length + start,
                   std::min(kSegment, length - start)};
  };
  // The weight of the first element of a stretch.
  const auto weight_of = [&](int64_t group, int64_t k) {
    const int64_t in_group = at.run > 1 ? k / segments : k * kSegment;
    return group * (at.size / at.run) + in_group;
  };
  const int64_t grain = std::max<int64_t>(1, kGrain / std::min(length, kSegment));

  const auto stretch_sums = WGAN_FAST_CHOSEN(stretch_sums<Args>);
  std::vector<Sums> parts(at.rows * stretches);
  run_ranges(parallel_for, at.rows * stretches, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / stretches, k = i % stretches;
      parts[i] = stretch_sums(args, stretch(row, k), weight_of(row % at.groups, k));
    }
  });

  Gradients total(args, at.groups * at.size / at.run);
  std::vector<row_t<Args>> rows(at.rows);
  std::vector<Sums> of_runs(runs);
  for (int64_t row = 0; row < at.rows; ++row) {
    for (int64_t k = 0; k < runs; ++k) {
      of_runs[k] = parts[row * stretches + k * segments];
      for (int64_t s = 1; s < segments; ++s) {
        of_runs[k] = together(of_runs[k], parts[row * stretches + k * segments + s]);
      }
    }
    rows[row] = row_of(args, row, of_runs.data());
    for (int64_t k = 0; at.run > 1 && args.grad_weight != nullptr && k < runs; ++k) {
      const int64_t weight = weight_of(row % at.groups, k * segments);
      add_gradients(rows[row], of_runs[k], total.weight_at(weight), total.bias_at(weight));
    }
  }

  const auto apply_to_stretch = WGAN_FAST_CHOSEN(apply_to_stretch<Args>);
  run_ranges(parallel_for, at.groups * stretches, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = i / stretches, k = i % stretches;
      const int64_t weight = weight_of(group, k);
      for (int64_t row = group; row < at.rows; row += at.groups) {
        apply_to_stretch(args, stretch(row, k), weight, rows[row], total.weight_at(weight),
                         total.bias_at(weight));
      }
    }
  });
  return total;
}

template <class C>
std::vector<C> spread(const C* values, int64_t count, int64_t run) {
  std::vector<C> each;
  if (values == nullptr) return each;
  each.reserve(count * run);
  for (int64_t i = 0; i < count; ++i) each.insert(each.end(), run, values[i]);
  return each;
}

void fold_runs(std::vector<double>& sums, int64_t run) {
  const auto count = static_cast<int64_t>(sums.size()) / run;
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < run; ++j) sum += sums[i * run + j];
    sums[i] = sum;
  }
  sums.resize(count);
}

template <class Args>
Gradients compute(const Args& args, ParallelFor parallel_for) {
  const bool is_long = args.at.rows < kFewRows && args.at.size > kSegment;
  return is_long ? long_rows_in_parallel(args, parallel_for)
                 : whole_rows_in_parallel(args, parallel_for);
}

// With a weight for each element where runs are short.
template <class Args, class SetTangents>
Gradients compute_any(Args args, ParallelFor parallel_for, SetTangents set_tangents) {
  const int64_t run = args.at.run;
  if (run == 1 || run >= kShortRun) return compute(args, parallel_for);
  const int64_t count = args.at.groups * args.at.size / run;
  const auto weight = spread(args.at.weight, count, run);
  if (args.at.weight != nullptr) args.at.weight = weight.data();
  args.at.run = 1;
  [[maybe_unused]] const auto tangents = set_tangents(args, count, run);
  Gradients sums = compute(args, parallel_for);
  fold_runs(sums.weight, run);
  fold_runs(sums.bias, run);
  return sums;
}

template <class C>
void write(const std::vector<double>& sums, C* out) {
  for (const double sum : sums) *out++ = static_cast<C>(sum);
}

}  // namespace

template <class T>
void run(const NormalisationBackwardArgs<T>& args, ParallelFor parallel_for) {
  const auto none = [](NormalisationBackwardArgs<T>&, int64_t, int64_t) { return 0; };
  const Gradients sums = compute_any(args, parallel_for, none);
  write(sums.weight, args.grad_weight);
  write(sums.bias, args.grad_bias);
}

template <class T>
void run(const NormalisationDoubleBackwardArgs<T>& args, ParallelFor parallel_for) {
  using C = compute_t<T>;
  struct Tangents {
    std::vector<C> weight, bias;
  };
  const auto both = [](NormalisationDoubleBackwardArgs<T>& changed, int64_t count, int64_t run) {
    Tangents tangents = {spread(changed.tangent_weight, count, run),
                         spread(changed.tangent_bias, count, run)};
    if (changed.tangent_weight != nullptr) changed.tangent_weight = tangents.weight.data();
    if (changed.tangent_bias != nullptr) changed.tangent_bias = tangents.bias.data();
    return tangents;
  };
  write(compute_any(args, parallel_for, both).weight, args.grad_weight);
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, NormalisationBackwardArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CPU_KERNEL, NormalisationDoubleBackwardArgs)

}  // namespace cpu
}  // namespace wgan_fast
