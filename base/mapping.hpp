#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <span>
#include <utility>

namespace spinring {

/// Owns one mmap()ed range. Move-only; unmaps it when it goes.
class Mapping {
 public:
  Mapping() = default;
  Mapping(void* address, std::size_t length) noexcept : address_(address), length_(length) {}
  Mapping(Mapping&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)), length_(std::exchange(other.length_, 0)) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      reset();
      address_ = std::exchange(other.address_, nullptr);
      length_ = std::exchange(other.length_, 0);
    }
    return *this;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { reset(); }

  [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(address_); }
  [[nodiscard]] std::size_t size() const noexcept { return length_; }
  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data(), length_}; }
  explicit operator bool() const noexcept { return address_ != nullptr; }

  void reset() noexcept {
    if (address_ != nullptr) ::munmap(std::exchange(address_, nullptr), std::exchange(length_, 0));
  }

 private:
  void* address_ = nullptr;
  std::size_t length_ = 0;
};

}  // namespace spinring
