#include "kernel_name.h"

#include <cxxabi.h>

#include <cctype>
#include <cstdlib>

namespace simt {
namespace {

// A type without the namespaces in its name.
std::string without_scopes(const std::string& full) {
  std::string name;
  for (size_t i = 0; i < full.size(); ++i) {
    name += full[i];
    if (full[i] != ':' || full[i - 1] != ':') continue;
    name.resize(name.size() - 2);
    if (name.back() == ')') {
      name.resize(name.rfind('('));  // (anonymous namespace)
    } else {
      while (!name.empty() && (std::isalnum(name.back()) || name.back() == '_')) name.pop_back();
    }
  }
  return name;
}

}  // namespace

std::string kernel_name(const char* kernel, const std::type_info& first_argument) {
  char* demangled = abi::__cxa_demangle(first_argument.name(), nullptr, nullptr, nullptr);
  const std::string full = demangled;
  std::free(demangled);
  return std::string(kernel) + "<" + without_scopes(full) + ">";
}

}  // namespace simt
