#pragma once

#include <string>
#include <system_error>
#include <tl/expected.hpp>
#include <utility>

namespace spinring {

/// What went wrong in a set-up call. Every refusal names what was tried, on what, and how to mend it.
/// `code` is a room's own error enum (each room has one, with its std::error_category).
struct Error {
  std::error_code code;   ///< the room's error, e.g. vfio_glue::Errc::kGroupNotViable
  std::string operation;  ///< what was tried: "VFIO_GROUP_SET_CONTAINER"
  std::string subject;    ///< on what: "/dev/vfio/7", "0000:01:00.0"
  int system_errno = 0;   ///< errno of the kernel call, 0 if none
  std::string cure;       ///< what the user can do, as a sentence; may be empty

  /// One line: "subject: operation: what is wrong (errno text). cure".
  [[nodiscard]] std::string message() const;
};

/// Result of a set-up call. The data path never uses it: it returns counts and keeps counters.
template <class T>
using Result = tl::expected<T, Error>;

/// `return fail(Errc::kX, "operation", "subject", errno, "cure");`
template <class Errc>
[[nodiscard]] tl::unexpected<Error> fail(Errc code, std::string operation, std::string subject,
                                         int system_errno = 0, std::string cure = {}) {
  return tl::unexpected<Error>(
      Error{make_error_code(code), std::move(operation), std::move(subject), system_errno, std::move(cure)});
}

/// Passes a failed result's error on: `if (!r) return fail(std::move(r));`
template <class T>
[[nodiscard]] tl::unexpected<Error> fail(Result<T>&& failed) {
  return tl::unexpected<Error>(std::move(failed.error()));
}

}  // namespace spinring
