#include "apps/testpmd/prompt.hpp"

#include <editline/readline.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace spinring::testpmd {
namespace {

/// A terminal, through libedit's callback interface. Its handler is a plain function, so what it found waits
/// in statics until read() fetches it.
class TerminalPrompt final : public Prompt {
 public:
  TerminalPrompt() {
    rl_catch_signals = 0;  // SIGINT is the main loop's
    ended_ = false;
    rl_callback_handler_install("spinring-testpmd> ", &TerminalPrompt::on_line);
  }
  ~TerminalPrompt() override { rl_callback_handler_remove(); }

  [[nodiscard]] int fd() const noexcept override { return STDIN_FILENO; }
  [[nodiscard]] bool read(std::vector<std::string>& lines) override {
    rl_callback_read_char();
    lines.swap(pending_);
    pending_.clear();
    return !ended_;
  }

 private:
  static void on_line(char* line) {
    if (line == nullptr) {
      ended_ = true;
      return;
    }
    if (*line != '\0') add_history(line);
    pending_.emplace_back(line);
    std::free(line);  // NOLINT(cppcoreguidelines-no-malloc): libedit's contract
  }

  static inline std::vector<std::string> pending_;
  static inline bool ended_ = false;
};

/// A pipe or file: one command a line.
class LinePrompt final : public Prompt {
 public:
  [[nodiscard]] int fd() const noexcept override { return STDIN_FILENO; }
  [[nodiscard]] bool read(std::vector<std::string>& lines) override {
    std::array<char, 4096> bytes{};
    const ssize_t count = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count < 0) return errno == EINTR || errno == EAGAIN;
    rest_.append(bytes.data(), static_cast<std::size_t>(count));
    for (std::size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n')) {
      lines.push_back(rest_.substr(0, end));
      rest_.erase(0, end + 1);
    }
    if (count == 0 && !rest_.empty()) lines.push_back(std::exchange(rest_, {}));
    return count != 0;
  }

 private:
  std::string rest_;  ///< an incomplete line
};

}  // namespace

std::unique_ptr<Prompt> Prompt::open() {
  if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0) return std::make_unique<TerminalPrompt>();
  return std::make_unique<LinePrompt>();
}

}  // namespace spinring::testpmd
