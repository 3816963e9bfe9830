// Shared memory: every block gets its own, full of ones (NaN), with room between the variables.
#pragma once

#include <cstddef>

namespace simt {

// The variable of this block that the line `key` declares; the first thread there makes it.
void* shared_variable(const void* key, size_t size);
void begin_launch_memory();
void begin_block_memory();
// Between launches the memory is used again.
void end_launch_memory();
// Whether `address` is shared memory.
bool is_shared(const void* address);

}  // namespace simt
