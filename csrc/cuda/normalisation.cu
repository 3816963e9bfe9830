// The backward pass of a normalisation, and the double backward: layers, groups, instances, RMS.
//
// The formulas and their sources: common/normalised_row.h.
// Thread mapping, traffic and order of summation: normalised_rows.cuh for the rows, weight_sums.cuh
// for the gradients of the weights. Backward reads x and grad_y and writes N elements, the double
// backward reads these and the tangent and writes 2N.
// Numerics: sums and elements in float, or in double for double. The order of summation follows
// from shape, alignment and Launch::max_blocks alone.
#include "weight_sums.cuh"

namespace wgan_fast {
namespace cuda {
namespace {

constexpr int64_t kMaxLanesBytes = 4096;
constexpr int64_t kSegmentBytes = 16384;
constexpr int64_t kMaxSegments = 1024;
constexpr int64_t kManyBlocks = 1024;  // fill a large GPU

// What the kernels of a pass do with one element: x, grad_y, and in the double backward, tangent.
template <class T>
struct NormalisationBackward {
  using Type = T;
  using C = compute_t<T>;
  using Sums = BackwardSums<C>;
  using Row = BackwardRow<C>;
  static constexpr int inputs = 2;
  static constexpr int outputs = 1;

  NormalisationBackwardArgs<T> args;

  __host__ __device__ const T* input(int k) const { return k == 0 ? args.at.x : args.grad_y; }
  __host__ __device__ T* output(int) const { return args.grad_x; }
  __host__ __device__ const C* tangent_weight() const { return nullptr; }
  __host__ __device__ const C* tangent_bias() const { return nullptr; }
  __host__ __device__ C* grad_weight() const { return args.grad_weight; }
  __host__ __device__ C* grad_bias() const { return args.grad_bias; }

  __device__ static void add_up(Sums& sum, const C* in, C n, C w, C) {
    sum.g += w * in[1];
    sum.gn += w * in[1] * n;
  }
  __device__ static void apply(const Row& row, const C* in, C d, C w, C a, C, C* out) {
    out[0] = row.grad_x(row.weight(w, a), in[1], d);
  }
  __device__ static C to_weight(const Row& row, const C* in, C d) { return in[1] * (d * row.rstd); }
};

template <class T>
struct NormalisationDoubleBackward {
  using Type = T;
  using C = compute_t<T>;
  using Sums = DoubleBackwardSums<C>;
  using Row = DoubleBackwardRow<C>;
  static constexpr int inputs = 3;
  static constexpr int outputs = 2;

  NormalisationDoubleBackwardArgs<T> args;

  __host__ __device__ const T* input(int k) const {
    return k == 0 ? args.at.x : k == 1 ? args.grad_y : args.tangent;
  }
  __host__ __device__ T* output(int k) const { return k == 0 ? args.grad_grad_y : args.grad_x; }
  __host__ __device__ const C* tangent_weight() const { return args.tangent_weight; }
  __host__ __device__ const C* tangent_bias() const { return args.tangent_bias; }
  __host__ __device__ C* grad_weight() const { return args.grad_weight; }
  __host__ __device__ C* grad_bias() const { return nullptr; }

  __device__ static void add_up(Sums& sum, const C* in, C n, C w, C a) {
    const C g = w * in[1];
    const C h = a * in[1];
    sum.g += g;
    sum.gn += g * n;
    sum.v += in[2];
    sum.vn += in[2] * n;
    sum.gv += g * in[2];
    sum.h += h;
    sum.hn += h * n;
  }
  __device__ static void apply(const Row& row, const C* in, C d, C w, C a, C b, C* out) {
    out[0] = w * row.projected(in[2], d) + (a * (row.rstd * d) + b);
    out[1] = row.grad_x(row.weight(w, a), in[1], in[2], d);
  }
  __device__ static C to_weight(const Row& row, const C* in, C d) {
    return in[1] * row.projected(in[2], d);
  }
};

int power_of_two_for(int64_t count, int most) {
  int power = 1;
  while (power < most && power < count) power *= 2;
  return power;
}

template <class P>
bool is_aligned_for_packets(const P& pass) {
  constexpr int width = Packet<typename P::Type>::width;
  const auto& at = pass.args.at;
  bool aligned = at.size % width == 0 && (at.run == 1 || at.run % width == 0);
  for (int a = 0; a < P::inputs; ++a) aligned = aligned && is_aligned(pass.input(a));
  for (int a = 0; a < P::outputs; ++a) aligned = aligned && is_aligned(pass.output(a));
  return aligned;
}

template <class P>
Plan plan_of(const P& pass, int width, const Launch& launch) {
  using T = typename P::Type;
  const auto& at = pass.args.at;
  const auto bytes = static_cast<int64_t>(at.size * sizeof(T));
  Plan plan = {0, 1, at.size, 1, 1, power_of_two_for(at.run, kThreads)};
  if (bytes <= kMaxLanesBytes) {
    plan.lanes = power_of_two_for(at.size / width, kLanes);
  } else {
    const int64_t segments = clamp(ceil_divide(bytes, kSegmentBytes), 1, kMaxSegments);
    plan.segment = ceil_divide(ceil_divide(at.size, width), segments) * width;
    plan.segments = static_cast<int>(ceil_divide(at.size, plan.segment));
  }
  const int64_t weights = at.groups * (at.size / at.run), samples = at.rows / at.groups;
  plan.tiles = at.run == 1 ? ceil_divide(weights, kLanes) : weights;
  const int64_t shares = at.run == 1 ? kWarps : kThreads / plan.threads_of_a_run;
  const int64_t most = clamp(launch.max_blocks, 1, kManyBlocks) / plan.tiles;
  const int64_t chunk = ceil_divide(samples, clamp(most, 1, ceil_divide(samples, shares)));
  plan.chunks = ceil_divide(samples, chunk);
  return plan;
}

template <class P, int Width>
void launch_rows(const P& pass, const Plan& how, const Launch& launch, typename P::Sums* sums,
                 typename P::Row* rows) {
  const int64_t items = how.lanes > 0 ? ceil_divide(pass.args.at.rows, kThreads / how.lanes)
                                      : pass.args.at.rows * how.segments;
  const auto blocks = static_cast<unsigned>(clamp(items, 1, launch.max_blocks));
  const auto stream = launch.stream;
  if (how.lanes > 0) {
    normalise_by_lanes<P, Width><<<blocks, kThreads, 0, stream>>>(pass, how, rows);
  } else {
    sums_of_segments<P, Width><<<blocks, kThreads, 0, stream>>>(pass, how, sums);
    normalise_by_segments<P, Width><<<blocks, kThreads, 0, stream>>>(pass, how, sums, rows);
  }
}

template <class P>
cudaError_t run_pass(const P& pass, const Launch& launch) {
  using C = typename P::C;
  using Sums = typename P::Sums;
  using Row = typename P::Row;
  constexpr int packet = Packet<typename P::Type>::width;
  const auto& at = pass.args.at;
  const bool aligned = is_aligned_for_packets(pass);
  const Plan how = plan_of(pass, aligned ? packet : 1, launch);
  const bool wanted = pass.grad_weight() != nullptr;
  const int64_t weights = at.groups * (at.size / at.run);
  const size_t for_sums = how.lanes > 0 ? 0 : at.rows * how.segments * sizeof(Sums);
  const size_t for_rows = wanted ? at.rows * sizeof(Row) : 0;
  const size_t for_chunks = wanted && how.chunks > 1 ? 2 * how.chunks * weights * sizeof(C) : 0;
  Workspace workspace = {nullptr, nullptr};
  if (for_sums + for_rows > 0) {
    workspace = launch.workspace(for_sums + for_rows + for_chunks, launch.host);
  }
  auto* memory = static_cast<char*>(workspace.memory);
  auto* sums = reinterpret_cast<Sums*>(memory);
  auto* rows = wanted ? reinterpret_cast<Row*>(memory + for_sums) : nullptr;
  if (aligned) {
    launch_rows<P, packet>(pass, how, launch, sums, rows);
  } else {
    launch_rows<P, 1>(pass, how, launch, sums, rows);
  }
  if (wanted) {
    auto* partial = reinterpret_cast<C*>(memory + for_sums + for_rows);
    unsigned* ticket = workspace.ticket;
    const int64_t items = how.tiles * how.chunks;
    const auto blocks = static_cast<unsigned>(clamp(items, 1, launch.max_blocks));
    sums_of_weights<P><<<blocks, kThreads, 0, launch.stream>>>(pass, how, rows, partial, ticket);
  }
  return cudaGetLastError();
}

}  // namespace

template <class T>
cudaError_t run(const NormalisationBackwardArgs<T>& args, const Launch& launch) {
  return run_pass(NormalisationBackward<T>{args}, launch);
}

template <class T>
cudaError_t run(const NormalisationDoubleBackwardArgs<T>& args, const Launch& launch) {
  return run_pass(NormalisationDoubleBackward<T>{args}, launch);
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, NormalisationBackwardArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, NormalisationDoubleBackwardArgs)

}  // namespace cuda
}  // namespace wgan_fast
