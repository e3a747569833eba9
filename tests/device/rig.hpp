#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/fd.hpp"
#include "base/result.hpp"
#include "base/time.hpp"
#include "mempool/memory.hpp"

namespace spinring::test {

using Frame = std::vector<std::uint8_t>;

/// The value of a result that a test cannot go on without; fails the test with the error's message otherwise.
template <class T>
T must(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().message();
    throw std::runtime_error(result.error().message());
  }
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// A directory for sockets that goes with everything in it.
class TempDir {
 public:
  TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  ~TempDir();
  [[nodiscard]] std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

/// Memory of normal pages: these tests need no hugepages.
std::unique_ptr<mempool::Memory> make_memory(std::size_t mebibytes);

/// The far end of a NIC's cable: QEMU's `-netdev stream` over a unix socket (each frame after its length, 4
/// bytes big-endian). It listens from construction on, so QEMU may be started then; the connection is
/// accepted when it is first used.
class FramePeer {
 public:
  explicit FramePeer(const std::string& path);

  /// Sends one frame. False if the socket stayed full, or closed, until the deadline.
  [[nodiscard]] bool send(std::span<const std::uint8_t> frame, Deadline deadline);
  /// The next frame; nothing if none came whole before the deadline.
  [[nodiscard]] std::optional<Frame> receive(Deadline deadline);
  /// The next frame if one has come.
  [[nodiscard]] std::optional<Frame> receive_now() { return receive(Deadline(Clock::duration::zero())); }

 private:
  bool connect(Deadline deadline);
  std::optional<Frame> take_frame();

  Fd listener_;
  Fd socket_;
  std::vector<std::uint8_t> buffer_;
  std::size_t consumed_ = 0;
};

/// A frame of `length` bytes (60 or more) from `source` to `destination` that is different for every `seed`:
/// a local experimental EtherType, then pseudo-random bytes.
Frame make_frame(std::size_t length, std::uint32_t seed, const std::array<std::uint8_t, 6>& destination,
                 const std::array<std::uint8_t, 6>& source = {0x52, 0x54, 0, 0xaa, 0xbb, 0xcc});

}  // namespace spinring::test
