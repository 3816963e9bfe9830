// A fiber: a stack to run on, and the switch between stacks. Tells the sanitizers of every switch.
#pragma once

#include <cstddef>

namespace simt {

class Fiber {
 public:
  static constexpr size_t stack_bytes = 128 * 1024;

  // Prepares to run `entry`, which must end with leave().
  void prepare(void (*entry)());
  // Runs the fiber until it yields or leaves. Called by the scheduler.
  void resume();
  // Goes back to the scheduler. Called on the fiber.
  void yield();
  [[noreturn]] void leave();
  // The first thing to be called on a new fiber.
  static void entered();

 private:
  void* stack_pointer_ = nullptr;
  char* stack_ = nullptr;
  void* race_detector_ = nullptr;
  void* fake_stack_ = nullptr;
};

}  // namespace simt
