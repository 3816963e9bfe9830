// Runs a grid: one block after the other, one fiber for each thread, on one thread of the host.
//
// A fiber runs until it waits at a barrier or for its warp, or ends. What a GPU leaves undefined is
// an error here: barriers in different lines, shuffles from lanes that do not take part, and
// threads that wait for something that never comes.
#include "scheduler.h"

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>

#include "../device/simt.h"
#include "fiber.h"
#include "kernel_name.h"
#include "race_detector.h"
#include "shared_memory.h"

namespace simt {

Context* current;
dim3 grid_dim;
dim3 block_dim;

namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr unsigned kLanes = 32;
constexpr size_t kMaxErrors = 5;
constexpr uint64_t kGarbage = 0xdeadbeefdeadbeef;

enum class State { ready, at_barrier, in_warp_op, done };

struct Thread {
  Context context;
  Fiber fiber;
  State state;
  bool has_fenced;
  Where where;
  WarpOp op;
  unsigned mask;
  unsigned source;
  uint64_t given;
  uint64_t result;
};

// The objects of a block that the race detector knows, besides one for each warp.
enum Ordered : unsigned { even_barrier, odd_barrier, first_warp };

unsigned order = 0;
Listener silent;
Listener* listener = &silent;
std::vector<LaunchRecord> launches;

std::vector<Thread> threads(kMaxThreads);
Thread* running;
LaunchRecord launch_record;
void (*kernel_function)(void*);
void* kernel_arguments;
unsigned thread_count;
size_t block_number;
unsigned waiting_at_barrier;
unsigned done;
unsigned barriers_passed;
char end_of_launch;
std::vector<const void*> atomics_of_block;
std::vector<std::string> errors;

std::string place(const Thread& thread, Where where) {
  return " (thread " + std::to_string(thread.context.linear) + " of block " +
         std::to_string(block_number) + ", " + where.file + ":" + std::to_string(where.line) + ")";
}

void error(const std::string& what, const Thread& thread, Where where) {
  if (errors.size() < kMaxErrors) errors.push_back(what + place(thread, where));
}

void release_barrier() {
  waiting_at_barrier = 0;
  ++barriers_passed;
  for (Thread& thread : threads) {
    if (thread.state == State::at_barrier) thread.state = State::ready;
  }
}

void thread_main() {
  Fiber::entered();
  kernel_function(kernel_arguments);
  running->state = State::done;
  ++done;
  race::release(&end_of_launch);
  if (waiting_at_barrier > 0 && waiting_at_barrier == thread_count - done) release_barrier();
  running->fiber.leave();
}

void check_same_barrier(Where where) {
  for (unsigned i = 0; i < thread_count; ++i) {
    const Thread& other = threads[i];
    if (other.state != State::at_barrier) continue;
    if (other.where.line != where.line || std::string(other.where.file) != where.file) {
      error("threads of one block meet at different __syncthreads()", *running, where);
    }
    return;
  }
  if (done > 0) error("__syncthreads() after other threads have ended", *running, where);
}

// Gives every lane of `mask` what it asked for.
void finish_warp_op(Thread* warp, unsigned mask) {
  uint64_t votes = 0;
  for (unsigned i = 0; i < kLanes; ++i) {
    if (mask >> i & 1) votes |= (warp[i].given & 1) << i;
  }
  for (unsigned i = 0; i < kLanes; ++i) {
    if (!(mask >> i & 1)) continue;
    Thread& lane = warp[i];
    lane.state = State::ready;
    lane.result = votes;
    if (lane.op != WarpOp::shuffle) continue;
    if (mask >> lane.source & 1) {
      lane.result = warp[lane.source].given;
    } else {
      lane.result = kGarbage;
      error("a shuffle reads a lane that does not take part", lane, lane.where);
    }
  }
}

std::vector<unsigned> turns(std::mt19937& random) {
  std::vector<unsigned> result(thread_count);
  std::iota(result.begin(), result.end(), 0u);
  if (order == 1) std::reverse(result.begin(), result.end());
  if (order > 1) std::shuffle(result.begin(), result.end(), random);
  return result;
}

[[noreturn]] void fail() {
  std::string text = "simulated GPU: " + launch_record.kernel;
  for (const std::string& what : errors) text += "\n  " + what;
  errors.clear();
  end_launch_memory();
  throw std::runtime_error(text);
}

[[noreturn]] void fail_in_deadlock() {
  for (unsigned i = 0; i < thread_count; ++i) {
    const Thread& thread = threads[i];
    if (thread.state == State::at_barrier) {
      error("deadlock: waits at __syncthreads()", thread, thread.where);
    } else if (thread.state == State::in_warp_op) {
      error("deadlock: waits for lanes of its warp", thread, thread.where);
    }
  }
  fail();
}

void run_block(std::mt19937& random) {
  begin_block_memory();
  waiting_at_barrier = done = 0;
  atomics_of_block.clear();
  const auto b = static_cast<unsigned>(block_number);
  for (unsigned i = 0; i < thread_count; ++i) {
    Thread& thread = threads[i];
    const uint3 index = {i % block_dim.x, i / block_dim.x % block_dim.y,
                         i / block_dim.x / block_dim.y};
    const uint3 block = {b % grid_dim.x, b / grid_dim.x % grid_dim.y, b / grid_dim.x / grid_dim.y};
    thread.context = {index, block, i, i % kLanes, i / kLanes};
    thread.state = State::ready;
    thread.has_fenced = false;
    thread.fiber.prepare(thread_main);
  }
  const std::vector<unsigned> turn = turns(random);
  while (done < thread_count) {
    bool progress = false;
    for (unsigned i : turn) {
      if (threads[i].state != State::ready) continue;
      running = &threads[i];
      current = &running->context;
      running->fiber.resume();
      progress = true;
    }
    if (!progress) fail_in_deadlock();
  }
  listener->block_ends();
}

}  // namespace

void set_order(unsigned value) { order = value; }
void set_listener(Listener* value) { listener = value != nullptr ? value : &silent; }
std::vector<LaunchRecord> take_launches() { return std::exchange(launches, {}); }

void sync_threads(Where where) {
  const unsigned which = barriers_passed % 2 == 0 ? even_barrier : odd_barrier;
  race::release(race::object_of(block_number, which));
  check_same_barrier(where);
  running->state = State::at_barrier;
  running->where = where;
  ++waiting_at_barrier;
  if (waiting_at_barrier == thread_count - done) release_barrier();
  Thread* self = running;
  self->fiber.yield();
  race::acquire(race::object_of(block_number, which));
}

uint64_t warp_op(WarpOp op, unsigned mask, uint64_t value, unsigned source, Where where) {
  Thread* self = running;
  const unsigned w = self->context.warp;
  Thread* warp = &threads[w * kLanes];
  if (!(mask >> self->context.lane & 1)) error("a lane is not in its own mask", *self, where);
  void* ordered = race::object_of(block_number, first_warp + w);
  if (op == WarpOp::sync) race::release(ordered);
  self->state = State::in_warp_op;
  self->where = where;
  self->op = op;
  self->mask = mask;
  self->given = value;
  self->source = source;
  unsigned arrived = 0;
  for (unsigned i = 0; i < kLanes && w * kLanes + i < thread_count; ++i) {
    const Thread& other = warp[i];
    if (other.state == State::in_warp_op && other.op == op && other.mask == mask &&
        other.where.line == where.line) {
      arrived |= 1u << i;
    }
  }
  if ((arrived & mask) == mask) finish_warp_op(warp, mask);
  self->fiber.yield();
  if (op == WarpOp::sync) race::acquire(ordered);
  return self->result;
}

// What the thread wrote before is released by its later atomics; what others released with the
// atomics that this block has seen is acquired.
void thread_fence() {
  running->has_fenced = true;
  for (const void* address : atomics_of_block) race::acquire(address);
}

void before_atomic(const void* address) {
  if (running->has_fenced) race::release(address);
  auto& seen = atomics_of_block;
  if (std::find(seen.begin(), seen.end(), address) == seen.end()) seen.push_back(address);
}

void run(const Shape& shape, void (*kernel)(void*), void* arguments, const char* name,
         const std::type_info& type) {
  grid_dim = shape.grid;
  block_dim = shape.block;
  thread_count = shape.block.x * shape.block.y * shape.block.z;
  const size_t blocks = size_t{shape.grid.x} * shape.grid.y * shape.grid.z;
  launch_record = {kernel_name(name, type), static_cast<unsigned>(blocks), thread_count};
  launches.push_back(launch_record);
  if (thread_count < 1 || thread_count > kMaxThreads || blocks < 1) {
    errors.push_back("a launch with " + std::to_string(blocks) + " blocks of " +
                     std::to_string(thread_count) + " threads");
    fail();
  }
  kernel_function = kernel;
  kernel_arguments = arguments;
  for (Thread& thread : threads) thread.state = State::done;
  std::mt19937 random(order);
  race::begin_launch();
  begin_launch_memory();
  listener->launch_begins(launch_record);
  for (size_t i = 0; i < blocks; ++i) {
    block_number = order == 1 ? blocks - 1 - i : i;
    run_block(random);
  }
  listener->launch_ends();
  race::acquire(&end_of_launch);
  race::end_launch();
  end_launch_memory();
  current = nullptr;
  if (!errors.empty()) fail();
}

}  // namespace simt

// The host functions of CUDA that the kernels' files call.
extern "C" cudaError_t cudaGetLastError() { return cudaSuccess; }
