// The simulated GPU as its host program sees it.
#pragma once

#include <string>
#include <vector>

namespace simt {

struct LaunchRecord {
  std::string kernel;
  unsigned blocks;
  unsigned threads;
};

// The order in which threads and blocks take turns: 0 forward, 1 reverse, others random seeds.
void set_order(unsigned order);
// The launches since the last call of this.
std::vector<LaunchRecord> take_launches();

// Called around every launch and after every block; the tracer listens.
struct Listener {
  virtual ~Listener() = default;
  virtual void launch_begins(const LaunchRecord&) {}
  virtual void block_ends() {}
  virtual void launch_ends() {}
};
void set_listener(Listener* listener);

}  // namespace simt
