// Counts what the kernels ask of memory, as a GPU would: by warps and sectors of 32 bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace simt {

struct Traffic {
  uint64_t requests = 0;       // by whole warps
  uint64_t bytes = 0;          // that the lanes of a warp ask for, each once
  uint64_t sectors = 0;        // of 32 bytes, that the requests touch
  uint64_t least_sectors = 0;  // that could have held the bytes
  uint64_t vector_bytes = 0;   // asked for 16 at a time
};

struct LaunchTrace {
  std::string kernel;
  unsigned blocks;
  unsigned threads;
  Traffic read;
  Traffic written;
  uint64_t shared_requests = 0;
  uint64_t bank_conflicts = 0;  // further passes that shared memory needs
};

// Global memory to count; everything else (stacks, arguments) is not counted.
void watch(const void* memory, size_t bytes);
void stop_watching();
// The launches since the last call of this.
std::vector<LaunchTrace> take_traces();

}  // namespace simt
