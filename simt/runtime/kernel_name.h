// How a launch is called in reports.
#pragma once

#include <string>
#include <typeinfo>

namespace simt {

// "map_rows<Interpolate<float>>": the kernel and the type of its first argument.
std::string kernel_name(const char* kernel, const std::type_info& first_argument);

}  // namespace simt
