#pragma once

#include <memory>
#include <string>
#include <vector>

namespace spinring::testpmd {

/// Where commands come from with -i. The main loop polls fd() and calls read() when it is readable; nothing
/// blocks.
class Prompt {
 public:
  Prompt() = default;
  Prompt(const Prompt&) = delete;
  Prompt& operator=(const Prompt&) = delete;
  virtual ~Prompt() = default;

  /// Standard input: with line editing and history if it is a terminal, plain lines otherwise. One at a time.
  [[nodiscard]] static std::unique_ptr<Prompt> open();

  [[nodiscard]] virtual int fd() const noexcept = 0;
  /// The lines that are complete now. False at the end of input.
  [[nodiscard]] virtual bool read(std::vector<std::string>& lines) = 0;
};

}  // namespace spinring::testpmd
