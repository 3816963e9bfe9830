// The gradients of the weights of rows that are normalised.
//
// Thread mapping: where every element has a weight, a lane for a weight, and the warps of a block
// share the samples; where a run shares a weight, a block for it, whose threads share the run and,
// if that is short, the samples. Where there are fewer weights than fill a GPU, the samples are cut
// into chunks, and the last block adds up what these came to.
// Traffic: every input is read once, in lines of 32 elements or whole runs.
#pragma once

#include "normalised_rows.cuh"

namespace wgan_fast {
namespace cuda {

// This thread's share of the gradients of one weight and its bias: elements `offset`,
// offset + stride, ... of its run, in samples `first`, first + step, ...
template <class P>
__device__ void add_share(const P& pass, const typename P::Row* rows, int64_t weight, int64_t first,
                          int64_t step, int64_t last, int64_t offset, int64_t stride,
                          typename P::C (&sum)[2]) {
  using C = typename P::C;
  const auto& at = pass.args.at;
  const int64_t of_group = divide(at.size, at.run);
  const int64_t group = divide(weight, of_group);
  const int64_t start = (weight - group * of_group) * at.run;
#pragma unroll 1
  for (int64_t sample = first; sample < last; sample += step) {
    const int64_t row = sample * at.groups + group;
    const typename P::Row of_row = rows[row];
    const C mean = value_at(at.mean, row, C(0));
#pragma unroll 1
    for (int64_t i = offset; i < at.run; i += stride) {
      C x[P::inputs];
#pragma unroll
      for (int a = 0; a < P::inputs; ++a) x[a] = widen(pass.input(a)[row * at.size + start + i]);
      sum[0] += P::to_weight(of_row, x, x[0] - mean);
      sum[1] += x[1];
    }
  }
}

// Where the gradients of a chunk of samples go: to the result, if it is the only one.
template <class P>
__device__ typename P::C* gradients_of(const P& pass, const Plan& plan, int which, int64_t chunk,
                                       int64_t weights, typename P::C* partial) {
  if (plan.chunks > 1) return partial + (which * plan.chunks + chunk) * weights;
  return which == 0 ? pass.grad_weight() : pass.grad_bias();
}

// Every element has a weight: a lane for a weight, the warps share the samples.
// Runs: a block for a weight; its threads share the run, and if that is short, the samples.
template <class P>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor)
    sums_of_weights(const P pass, const Plan plan, const typename P::Row* rows,
                    typename P::C* partial, unsigned* ticket) {
  using C = typename P::C;
  __shared__ C slot[kWarps];
  __shared__ C column[kThreads];
  const Block<C> block = {slot};
  const auto& at = pass.args.at;
  const int64_t samples = divide(at.rows, at.groups);
  const int64_t weights = at.groups * divide(at.size, at.run);
  const bool by_columns = at.run == 1;
  const int64_t tiles = plan.tiles;
  const int64_t chunk = divide(samples + plan.chunks - 1, plan.chunks);
  const int rank = threadIdx.x, lane = rank % kLanes, warp = rank / kLanes;
  for (int64_t item = blockIdx.x; item < tiles * plan.chunks; item += gridDim.x) {
    const int64_t c = divide(item, tiles), tile = item - c * tiles;
    const int64_t last = (c + 1) * chunk < samples ? (c + 1) * chunk : samples;
    const int64_t weight = by_columns ? tile * kLanes + lane : tile;
    const int together = by_columns ? 1 : plan.threads_of_a_run;
    C sum[2] = {0, 0};
    if (weight < weights) {
      const int share = by_columns ? warp : rank / together;
      const int shares = by_columns ? kWarps : kThreads / together;
      add_share(pass, rows, weight, c * chunk + share, shares, last,
                by_columns ? 0 : rank % together, together, sum);
    }
    for (int which = 0; which < 2; ++which) {
      C total = sum[which];
      if (by_columns) {
        column[rank] = total;
        __syncthreads();
        total = 0;
        for (int w = 0; w < kWarps; ++w) total += column[w * kLanes + lane];
        __syncthreads();  // before the next ones are written
      } else {
        total = block.reduce(total, Add());
      }
      C* out = gradients_of(pass, plan, which, c, weights, partial);
      const bool writes = by_columns ? warp == 0 && weight < weights : rank == 0;
      if (writes && out != nullptr) out[weight] = total;
    }
  }
  if (plan.chunks == 1) return;
  __syncthreads();  // what the other threads wrote comes before the ticket, too
  if (!is_last_block(ticket)) return;
  for (int which = 0; which < 2; ++which) {
    C* out = which == 0 ? pass.grad_weight() : pass.grad_bias();
    for (int64_t j = rank; out != nullptr && j < weights; j += kThreads) {
      C total = 0;
      for (int64_t c = 0; c < plan.chunks; ++c) {
        total += partial[(which * plan.chunks + c) * weights + j];
      }
      out[j] = total;
    }
  }
}

}  // namespace cuda
}  // namespace wgan_fast
