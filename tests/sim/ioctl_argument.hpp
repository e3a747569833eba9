#pragma once

#include <cstring>

namespace spinring::sim {

/// A struct of the kernel's interface, all zeros. `T{}` would initialise the flexible array at the end of
/// such a struct, which is an extension.
template <class T>
T zeroed() {
  T value;
  std::memset(&value, 0, sizeof(value));
  return value;
}

/// What an ioctl's argument points to.
template <class T>
T* as(unsigned long argument) {
  return reinterpret_cast<T*>(argument);
}

}  // namespace spinring::sim
