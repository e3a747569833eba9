#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace spinring::testpmd {

/// Writes all of `text` to a descriptor: several write(2)s if it must. False on an error (errno says which).
bool write_all(int fd, std::string_view text) noexcept;

/// Writes a file so that a reader never sees half of it: to a temporary file beside it, then by rename(2).
/// "-" is standard output; what is no regular file (a serial port, a pipe) is written in place. Returns the
/// error as a sentence, nothing on success.
[[nodiscard]] std::optional<std::string> write_file(const std::string& path, std::string_view text);

}  // namespace spinring::testpmd
