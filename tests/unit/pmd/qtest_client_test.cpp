// The qtest protocol's client against a QEMU that answers badly: the test holds the other end of the socket.
#include "pmd/bus/qtest/qtest_client.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "pmd/errors.hpp"

namespace spinring::pmd {
namespace {

using namespace std::chrono_literals;

/// Reads whole lines and lets `answer` say what to write for each.
class Peer {
 public:
  using Answer = std::function<std::string(const std::string& line)>;
  Peer(Fd socket, Answer answer)
      : socket_(std::move(socket)), answer_(std::move(answer)), thread_([this] { run(); }) {}
  ~Peer() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    const std::lock_guard lock(mutex_);
    return lines_;
  }

 private:
  void run() {
    std::string text;
    char chunk[256];
    ssize_t got = 0;
    while ((got = ::recv(socket_.get(), chunk, sizeof chunk, 0)) > 0) {
      text.append(chunk, static_cast<std::size_t>(got));
      for (std::size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
        const std::string line = text.substr(0, end);
        text.erase(0, end + 1);
        {
          const std::lock_guard lock(mutex_);
          lines_.push_back(line);
        }
        // One byte at a time: the client must put the pieces together.
        for (const char c : answer_(line)) {
          if (::send(socket_.get(), &c, 1, MSG_NOSIGNAL) != 1) return;
        }
      }
    }
  }

  Fd socket_;
  Answer answer_;
  mutable std::mutex mutex_;
  std::vector<std::string> lines_;
  std::thread thread_;
};

class QtestClientTest : public testing::Test {
 protected:
  void open(Peer::Answer answer, Clock::duration timeout = 5s) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    auto process = QemuProcess::start({"sleep", "1000"}, {});
    ASSERT_TRUE(process);
    process_ = std::move(*process);
    peer_ = std::make_unique<Peer>(Fd(ends[1]), std::move(answer));
    client_ = std::make_unique<QtestClient>(Fd(ends[0]), *process_, timeout);
  }
  void expect_broken(const std::string& words) {
    const auto health = client_->health();
    ASSERT_FALSE(health);
    EXPECT_EQ(health.error().code, Errc::kQemu);
    EXPECT_NE(health.error().message().find(words), std::string::npos) << health.error().message();
    EXPECT_FALSE(client_->command("readl 0x0")) << "a broken conversation stays broken";
  }

  std::unique_ptr<QemuProcess> process_;
  std::unique_ptr<Peer> peer_;
  std::unique_ptr<QtestClient> client_;
};

TEST_F(QtestClientTest, ValuesComeThroughInAnyWidthAndBetweenInterruptLines) {
  open([](const std::string& line) {
    if (line == "readq 0x8") return std::string("IRQ raise 3\nOK 0xfedcba9876543210\nIRQ lower 3\n");
    if (line == "readb 0x1") return std::string("IRQ lower 1\nIRQ raise 1\nOK 0x00000000000000ff\n");
    return std::string("OK\n");
  });
  EXPECT_EQ(client_->command("readq 0x8").value(), 0xfedc'ba98'7654'3210U);
  EXPECT_EQ(client_->command("readb 0x1").value(), 0xffU);
  EXPECT_EQ(client_->command("writel 0x1 0x2").value(), 0U);
  EXPECT_TRUE(client_->health());
}

TEST_F(QtestClientTest, PostedWritesKeepTheirPlaceInTheOrder) {
  open([](const std::string& line) {
    return line.starts_with("read") ? std::string("OK 0x7\n") : std::string("OK\n");
  });
  std::vector<std::string> wanted;
  for (int i = 0; i < 500; ++i) {
    client_->post("writew 0x10 0x1");
    wanted.emplace_back("writew 0x10 0x1");
    if (i % 100 == 99) {
      EXPECT_EQ(client_->command("readl 0x20").value(), 7U);
      wanted.emplace_back("readl 0x20");
    }
  }
  EXPECT_EQ(client_->command_after("outl 0xcf8 0x1", "read 0xcfc").value(), 7U);
  wanted.emplace_back("outl 0xcf8 0x1");
  wanted.emplace_back("read 0xcfc");
  EXPECT_EQ(peer_->lines(), wanted);
  EXPECT_TRUE(client_->health());
}

TEST_F(QtestClientTest, ARefusalIsKept) {
  open([](const std::string&) { return std::string("FAIL Unknown command 'x'\n"); });
  EXPECT_FALSE(client_->command("x"));
  expect_broken("FAIL Unknown command 'x'");
}

TEST_F(QtestClientTest, ARefusedPostedWriteShowsLater) {
  open([](const std::string& line) {
    return line[0] == 'w' ? std::string("ERR no\n") : std::string("OK 0x1\n");
  });
  client_->post("writew 0x10 0x1");
  EXPECT_FALSE(client_->command("readl 0x0"));
  expect_broken("ERR no");
  client_->post("writew 0x10 0x1");  // swallowed
}

TEST_F(QtestClientTest, AValueThatIsNoneIsAnError) {
  open([](const std::string&) { return std::string("OK 0xpotato\n"); });
  EXPECT_FALSE(client_->command("readl 0x0"));
  expect_broken("a value that is none");
}

TEST_F(QtestClientTest, AReplyWithoutAnEndIsAnError) {
  open([](const std::string&) { return std::string(100'000, 'O'); });
  EXPECT_FALSE(client_->command("readl 0x0"));
  expect_broken("without an end");
}

TEST_F(QtestClientTest, SilenceEndsAtTheDeadline) {
  open([](const std::string&) { return std::string(); }, 50ms);
  const auto start = Clock::now();
  EXPECT_FALSE(client_->command("readl 0x0"));
  EXPECT_GE(Clock::now() - start, 50ms);
  expect_broken("timed out");
}

TEST_F(QtestClientTest, AClosedSocketTellsHowQemuEnded) {
  open([](const std::string&) { return std::string("OK\n"); });
  auto failing = QemuProcess::start({"sh", "-c", "echo no such machine >&2; exit 3"}, {});
  ASSERT_TRUE(failing);
  ASSERT_TRUE((*failing)->wait_ended(Deadline(5s)));
  EXPECT_EQ((*failing)->last_words(), "QEMU exited with status 3, having said: no such machine");
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  QtestClient client(Fd{ends[0]}, **failing, 5s);
  ::close(ends[1]);
  const auto reply = client.command("readl 0x0");
  ASSERT_FALSE(reply);
  EXPECT_NE(reply.error().message().find("no such machine"), std::string::npos) << reply.error().message();
}

TEST_F(QtestClientTest, APeerThatDoesNotReadIsGivenUp) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  const Fd silent(ends[1]);
  auto process = QemuProcess::start({"sleep", "1000"}, {});
  ASSERT_TRUE(process);
  QtestClient client(Fd{ends[0]}, **process, 50ms);
  for (int i = 0; i < 100 && client.health(); ++i) client.post("writew 0x10 0x1");
  ASSERT_FALSE(client.health());
  EXPECT_EQ(client.health().error().system_errno, ETIMEDOUT);
}

}  // namespace
}  // namespace spinring::pmd
