// norm_penalty: the norm of each sample's gradient, its penalty, and their sum.
//
//   norms[b] = ||gradients[b]||_2
//   penalty  = scale * sum_b term(norms[b])          (or each summand, when not reduced)
//   backward: out[b, i] = (scale * grad_penalty * term'(norms[b]) + grad_norms[b]) / norms[b]
//                         * gradients[b, i],  and 0 where norms[b] = 0
//
// Source: Gulrajani et al., arXiv 1704.00028, equation 3.
// Thread mapping, forward: some lanes of a warp for a row of up to 4 KiB, a block for a row of up
// to 16 KiB, several blocks for a longer one; backward: map_rows.cuh.
// Traffic: forward reads N; backward reads N and writes N elements.
// Numerics: half and bfloat16 are summed in float, float in float, double in double; a row whose
// squares leave the range of that type is summed again, divided by its largest entry. The order of
// summation follows from shape, alignment and Launch::max_blocks alone.
#include "../common/penalty_term.h"
#include "map_rows.cuh"
#include "sum_of_squares.cuh"

namespace wgan_fast {
namespace cuda {
namespace {

constexpr int64_t kMaxLanesBytes = 4096;
constexpr int64_t kSegmentBytes = 16384;
constexpr int64_t kMaxSegments = 1024;
// Asks the compiler for at most 64 registers, and not to spill for fewer.
constexpr int kBlocksPerProcessor = 4;
// Every block costs the last one a ticket and a summand.
constexpr int64_t kMaxBlocks = 4096;

enum class Regime { lanes, block, segments };

// How a batch is cut.
struct Plan {
  Regime regime;
  bool single;       // regime `lanes`: load elements, not packets
  int lanes;         // for one row, or in regime `segments`, for the partial sums of one row
  int segments;      // of each row
  int packets;       // of each segment
  int64_t items;     // which the blocks share
  size_t item_size;  // of workspace, for each item or block
};

int lanes_for(int64_t count) {
  int lanes = 1;
  while (lanes < kLanes && lanes < count) lanes *= 2;
  return lanes;
}

template <class T>
Plan plan_lanes(const NormPenaltyArgs<T>& args) {
  constexpr int64_t width = Packet<T>::width;
  const bool aligned = is_aligned(args.gradients.data) && args.gradients.stride % width == 0 &&
                       args.dim % width == 0;
  const int lanes = lanes_for(aligned ? args.dim / width : args.dim);
  const int64_t items = ceil_divide(args.batch, kThreads / lanes);
  return {Regime::lanes, !aligned && lanes < kLanes, lanes, 1, 0, items, sizeof(compute_t<T>)};
}

template <class T>
Plan plan(const NormPenaltyArgs<T>& args) {
  constexpr int64_t partial_sums_of_a_lane = 4;
  const int64_t bytes = args.dim * sizeof(T);
  if (bytes <= kMaxLanesBytes) return plan_lanes(args);
  if (bytes <= kSegmentBytes) {
    return {Regime::block, false, kLanes, 1, 0, args.batch, sizeof(compute_t<T>)};
  }
  const auto segments = static_cast<int>(clamp(ceil_divide(bytes, kSegmentBytes), 1, kMaxSegments));
  const int64_t packets = ceil_divide(args.dim, Packet<T>::width);
  return {Regime::segments,
          false,
          lanes_for(ceil_divide(segments, partial_sums_of_a_lane)),
          segments,
          static_cast<int>(ceil_divide(packets, segments)),
          args.batch * segments,
          sizeof(ScaledSum<compute_t<T>>)};
}

template <class C>
__device__ PenaltyTerm<C> to_compute_type(const PenaltyTerm<double>& term) {
  return {static_cast<C>(term.target), static_cast<C>(term.power), term.one_sided};
}

// Writes what is known of row b alone, and returns its term.
template <class T>
__device__ compute_t<T> finish_row(const NormPenaltyArgs<T>& args, int64_t b, compute_t<T> norm) {
  using C = compute_t<T>;
  const C term = to_compute_type<C>(args.term).value(norm);
  args.norms[b] = norm;
  if (!args.reduce) args.penalty[b] = static_cast<C>(args.scale * term);
  return term;
}

// Adds up the terms of all threads of the grid; the last block writes the penalty.
template <class T, class C = compute_t<T>>
__device__ void finish_batch(const NormPenaltyArgs<T>& args, const Block<C>& block, C terms,
                             const Workspace& workspace) {
  C* partial = static_cast<C*>(workspace.memory);
  terms = block.reduce(terms, Add());
  if (threadIdx.x == 0) partial[blockIdx.x] = terms;
  if (!is_last_block(workspace.ticket)) return;
  C total = 0;
#pragma unroll 4
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) total += partial[i];
  total = block.reduce(total, Add());
  if (threadIdx.x == 0) *args.penalty = static_cast<C>(args.scale * total);
}

// Short rows: 1, 2, 4, 8, 16 or 32 lanes for a row.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    norms_by_lanes(const NormPenaltyArgs<T> args, const Plan plan, const Workspace workspace) {
  using C = compute_t<T>;
  __shared__ C slot[kWarps];
  const Lanes lanes = {plan.lanes};
  const int64_t rows = kThreads / plan.lanes;
  C terms = 0;
  for (int64_t first = blockIdx.x * rows; first < args.batch; first += gridDim.x * rows) {
    const int64_t b = first + threadIdx.x / plan.lanes;
    const T* row = args.gradients.data + b * args.gradients.stride;
    const int64_t dim = b < args.batch ? args.dim : 0;
    const Piece<T> piece = plan.single ? single_elements(row, dim) : aligned_packets(row, dim);
    const C norm = sum_of_squares(piece, lanes).norm();
    if (b < args.batch && lanes.rank() == 0) terms += finish_row(args, b, norm);
  }
  if (args.reduce) finish_batch(args, Block<C>{slot}, terms, workspace);
}

// Middling rows: a block for a row.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    norms_by_block(const NormPenaltyArgs<T> args, const Workspace workspace) {
  using C = compute_t<T>;
  __shared__ C slot[kWarps];
  const Block<C> block = {slot};
  C terms = 0;
  for (int64_t b = blockIdx.x; b < args.batch; b += gridDim.x) {
    const T* row = args.gradients.data + b * args.gradients.stride;
    const C norm = sum_of_squares(aligned_packets(row, args.dim), block).norm();
    if (threadIdx.x == 0) terms += finish_row(args, b, norm);
  }
  if (args.reduce) finish_batch(args, block, terms, workspace);
}

// Long rows: a block for a segment of a row; the last block puts the segments together.
template <class T>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    norms_by_segments(const NormPenaltyArgs<T> args, const Plan plan, const Workspace workspace) {
  using C = compute_t<T>;
  __shared__ C slot[kWarps];
  const Block<C> block = {slot};
  auto* partial = static_cast<ScaledSum<C>*>(workspace.memory);
  for (int64_t item = blockIdx.x; item < args.batch * plan.segments; item += gridDim.x) {
    const int64_t b = divide(item, plan.segments);
    const int64_t s = item - b * plan.segments;
    const T* row = args.gradients.data + b * args.gradients.stride;
    const Piece<T> piece =
        aligned_packets(row, args.dim, s * plan.packets, plan.packets, s == plan.segments - 1);
    const ScaledSum<C> sum = sum_of_squares(piece, block);
    if (threadIdx.x == 0) partial[item] = sum;
  }
  if (!is_last_block(workspace.ticket)) return;

  const Lanes lanes = {plan.lanes};
  const int64_t rows = kThreads / plan.lanes;
  C terms = 0;
  for (int64_t first = 0; first < args.batch; first += rows) {
    const int64_t b = first + threadIdx.x / plan.lanes;
    const int segments = b < args.batch ? plan.segments : 0;
    ScaledSum<C> sum = {0, 0};
    for (int s = lanes.rank(); s < segments; s += plan.lanes) {
      sum = sum + partial[b * plan.segments + s];
    }
    const C norm = lanes.reduce(sum, Add()).norm();
    if (b < args.batch && lanes.rank() == 0) terms += finish_row(args, b, norm);
  }
  terms = block.reduce(terms, Add());
  if (args.reduce && threadIdx.x == 0) *args.penalty = static_cast<C>(args.scale * terms);
}

template <class T>
struct NormPenaltyBackward {
  using Type = T;
  using C = compute_t<T>;
  static constexpr int inputs = 1;
  static constexpr int outputs = 1;
  Rows<const T> in[inputs];
  T* out[outputs];
  NormPenaltyBackwardArgs<T> args;

  // out = multiplier * (x / divisor): usually slope / norm and 1; but a tiny norm has no inverse.
  struct Factor {
    C multiplier;
    C divisor;
  };

  __device__ Factor row(int64_t b) const {
    const C norm = args.norms[b];
    if (norm == 0) return {0, 1};
    C slope = static_cast<C>(args.scale) * args.grad_penalty[args.reduce ? 0 : b] *
              to_compute_type<C>(args.term).derivative(norm);
    if (args.grad_norms != nullptr) slope += args.grad_norms[b];
    const C ratio = slope / norm;
    if (ratio - ratio == 0) return {ratio, 1};
    return {slope, norm};
  }
  __device__ void apply(const Factor& factor, const C* x, C* y) const {
    y[0] = factor.multiplier * (factor.divisor == 1 ? x[0] : x[0] / factor.divisor);
  }
};

}  // namespace

template <class T>
cudaError_t run(const NormPenaltyArgs<T>& args, const Launch& launch) {
  const Plan how = plan(args);
  const Workspace workspace = launch.workspace(how.items * how.item_size, launch.host);
  const auto blocks =
      static_cast<unsigned>(clamp(how.items, 1, clamp(launch.max_blocks, 1, kMaxBlocks)));
  switch (how.regime) {
    case Regime::lanes:
      norms_by_lanes<T><<<blocks, kThreads, 0, launch.stream>>>(args, how, workspace);
      break;
    case Regime::block:
      norms_by_block<T><<<blocks, kThreads, 0, launch.stream>>>(args, workspace);
      break;
    case Regime::segments:
      norms_by_segments<T><<<blocks, kThreads, 0, launch.stream>>>(args, how, workspace);
      break;
  }
  return cudaGetLastError();
}

template <class T>
cudaError_t run(const NormPenaltyBackwardArgs<T>& args, const Launch& launch) {
  const NormPenaltyBackward<T> op = {{args.gradients}, {args.out}, args};
  return launch_map_rows(op, args.batch, args.dim, launch);
}

WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, NormPenaltyArgs)
WGAN_FAST_FOR_EACH_TYPE(WGAN_FAST_CUDA_KERNEL, NormPenaltyBackwardArgs)

}  // namespace cuda
}  // namespace wgan_fast
