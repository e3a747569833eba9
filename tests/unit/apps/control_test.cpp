#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <thread>

#include "apps/testpmd/commands.hpp"
#include "apps/testpmd/control_loop.hpp"
#include "apps/testpmd/output.hpp"
#include "apps/testpmd/stop_signals.hpp"
#include "tests/unit/apps/loopback_port.hpp"

namespace spinring::testpmd {
namespace {

using namespace std::chrono_literals;

/// A prompt whose lines the test wrote beforehand.
class ScriptedPrompt final : public Prompt {
 public:
  explicit ScriptedPrompt(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  [[nodiscard]] int fd() const noexcept override { return ready_.get(); }
  [[nodiscard]] bool read(std::vector<std::string>& lines) override {
    if (next_ == lines_.size()) return false;
    lines.push_back(lines_[next_++]);
    return true;
  }

 private:
  std::vector<std::string> lines_;
  std::size_t next_ = 0;
  Fd ready_{::open("/dev/zero", O_RDONLY | O_CLOEXEC)};  // always readable
};

std::string g_printed;

class ControlTest : public testing::Test {
 protected:
  ControlTest() {
    g_printed.clear();
    options_.rx_ring = 64;
    options_.tx_ring = 64;
    options_.packets = 1000;
    options_.idle.kind = lcore::Idle::kSleep;
  }

  void open() {
    const auto allowed = lcore::allowed_cpus().value();
    session_ = Session::create(options_, {{0, 0}, {1, allowed.cpus().back()}}, allowed, *lab_.memory,
                               std::move(lab_.opened))
                   .value();
  }
  Result<void> run(Prompt* prompt = nullptr) {
    ControlLoop loop(*session_, signals_, prompt, [](std::string_view text) { g_printed += text; });
    return loop.run();
  }
  std::string say(std::string_view line) { return execute(*session_, line).text; }

  Lab lab_{2};
  ForwardOptions options_;
  StopSignals signals_ = StopSignals::create().value();
  std::unique_ptr<Session> session_;
};

TEST_F(ControlTest, ASignalEndsTheLoop) {
  for (const int signal : {SIGINT, SIGTERM}) {
    Lab lab(2);
    const StopSignals signals = StopSignals::create().value();
    lab_ = std::move(lab);
    open();
    ASSERT_TRUE(session_->start(0));
    std::thread sender([signal] {
      std::this_thread::sleep_for(30ms);
      ::kill(::getpid(), signal);
    });
    ControlLoop loop(*session_, signals, nullptr, [](std::string_view) {});
    EXPECT_TRUE(loop.run());
    sender.join();
    EXPECT_STREQ(signals.received(), signal == SIGINT ? "SIGINT" : "SIGTERM");
    session_.reset();
  }
}

TEST_F(ControlTest, ASecondSignalEndsTheProgramAtOnce) {
  EXPECT_EXIT(
      {
        const StopSignals signals = StopSignals::create().value();
        std::raise(SIGINT);
        std::raise(SIGINT);
        std::_Exit(0);
      },
      testing::ExitedWithCode(128 + SIGINT), "");
}

TEST_F(ControlTest, SigpipeIsIgnored) {
  EXPECT_EXIT(
      {
        const StopSignals signals = StopSignals::create().value();
        std::raise(SIGPIPE);
        std::_Exit(7);
      },
      testing::ExitedWithCode(7), "");
}

TEST_F(ControlTest, TheDurationEndsTheLoop) {
  options_.duration_s = 0.25;
  open();
  ASSERT_TRUE(session_->start(0));
  EXPECT_TRUE(run());
  EXPECT_GE(session_->duration_s(), 0.25);
  EXPECT_LT(session_->duration_s(), 5.0);
}

TEST_F(ControlTest, ThePeriodPrintsRates) {
  options_.duration_s = 0.35;
  options_.stats_period_s = 0.1;
  open();
  ASSERT_TRUE(session_->start(1));
  EXPECT_TRUE(run());
  EXPECT_NE(g_printed.find("rx pps"), std::string::npos);
  EXPECT_NE(g_printed.find("loop1"), std::string::npos);
}

TEST_F(ControlTest, LinkEventsAreServedAndAcknowledged) {
  options_.duration_s = 0.2;
  open();
  ASSERT_TRUE(session_->start(0));
  lab_.port[1]->change_link(false);
  EXPECT_TRUE(run());
  EXPECT_FALSE(session_->report().ports[1].link.up);
  eventfd_t count = 0;
  EXPECT_EQ(::eventfd_read(lab_.port[1]->link_event_fd(), &count), -1) << "the event was taken";
}

TEST_F(ControlTest, RemovalOfAllPortsEndsTheLoop) {
  open();
  ASSERT_TRUE(session_->start(1));
  bool gone[2] = {false, false};
  for (std::size_t i = 0; i < 2; ++i) {
    lab_.port[i]->destroyed = &gone[i];
    lab_.port[i]->ask_back();
  }
  EXPECT_TRUE(run());
  EXPECT_TRUE(gone[0]);
  EXPECT_TRUE(gone[1]);
}

TEST_F(ControlTest, AFaultIsMendedWhileTheLoopRuns) {
  options_.duration_s = 0.5;
  open();
  ASSERT_TRUE(session_->start(1));
  lab_.port[0]->faulty = true;
  EXPECT_TRUE(run());
  EXPECT_EQ(session_->report().ports[0].recoveries, 1U);
}

TEST_F(ControlTest, ThePromptsCommandsAreCarriedOutUntilQuit) {
  open();
  ScriptedPrompt prompt({"start tx_first", "show port stats all", "stop", "quit", "start"});
  EXPECT_TRUE(run(&prompt));
  EXPECT_FALSE(session_->forwarding());
  EXPECT_NE(g_printed.find("NIC statistics for port 1"), std::string::npos);
  EXPECT_NE(g_printed.find("Accumulated forward statistics"), std::string::npos);
  EXPECT_NE(g_printed.find("Bye"), std::string::npos);
  EXPECT_EQ(totals(session_->report()).generated, 64U);
}

TEST_F(ControlTest, TheEndOfInputEndsTheLoop) {
  open();
  ScriptedPrompt prompt({"show config fwd"});
  EXPECT_TRUE(run(&prompt));
  EXPECT_NE(g_printed.find("RX port 0 queue 0 -> TX port 1 queue 0"), std::string::npos);
}

TEST_F(ControlTest, SetTakesEffectAtTheNextStart) {
  open();
  EXPECT_EQ(say("set fwd macswap"), "Set macswap packet forwarding mode\n");
  EXPECT_EQ(session_->options().mode, ForwardMode::kIo);
  EXPECT_EQ(say("start"), "Forwarding\n");
  EXPECT_EQ(session_->options().mode, ForwardMode::kMacSwap);
  EXPECT_NE(say("start").find("runs already"), std::string::npos);
  EXPECT_EQ(say("set burst 64"), "Set burst 64 from the next start on\n");
  EXPECT_EQ(session_->options().burst, 32);
  EXPECT_NE(say("stop").find("Forward statistics for port 0"), std::string::npos);
  EXPECT_EQ(say("stop"), "Not forwarding\n");
  EXPECT_EQ(say("start tx_first 3"), "Forwarding\n");
  EXPECT_EQ(session_->options().burst, 64);
  (void)say("stop");
  EXPECT_EQ(totals(session_->report()).generated, 3U * 64 * 2);
  EXPECT_EQ(say("clear port stats all"), "Statistics of all ports cleared\n");
  EXPECT_EQ(totals(session_->report()).generated, 0U);
}

TEST_F(ControlTest, PromiscuousIsSetByPortOrForAll) {
  open();
  EXPECT_EQ(say("set promisc 1 off"), "port 1 (loop1): promiscuous off\n");
  EXPECT_TRUE(lab_.port[0]->promiscuous);
  EXPECT_FALSE(lab_.port[1]->promiscuous);
  (void)say("set promisc all off");
  EXPECT_FALSE(lab_.port[0]->promiscuous);
}

TEST_F(ControlTest, BadCommandsAreAnsweredWithWhatMayStandThere) {
  open();
  const std::vector<std::pair<std::string, std::string>> answers{
      {"fly", "help lists all"},          {"show", "show port stats|info N|all"},
      {"show port stats 2", "0 to 1"},    {"set fwd icmpecho", "macswap"},
      {"set burst 0", "1 to 512"},        {"set burst 513", "1 to 512"},
      {"set promisc 9 on", "0 to 1"},     {"set promisc 0", "on|off"},
      {"start tx_first 0", "1 to 65535"}, {"start now", "tx_first"},
      {"clear", "clear port stats"},      {"set", "set fwd"}};
  for (const auto& [command, answer] : answers) {
    EXPECT_NE(say(command).find(answer), std::string::npos) << command << ": " << say(command);
  }
  EXPECT_EQ(say(" \t"), "");
  EXPECT_FALSE(session_->forwarding());
}

TEST_F(ControlTest, HelpListsEveryCommandAndInfoTheDevice) {
  open();
  for (const char* command :
       {"start", "stop", "show port", "set fwd", "set burst", "set promisc", "clear", "quit"}) {
    EXPECT_NE(say("help").find(command), std::string::npos) << command;
  }
  EXPECT_NE(say("show fwd stats all").find("CPU cycles/packet="), std::string::npos);
  const std::string info = say("show port info 1");
  EXPECT_NE(info.find("Device name: loop1"), std::string::npos);
  EXPECT_NE(info.find("IOMMU group: none"), std::string::npos);
  EXPECT_NE(info.find("RX path: loopback rx"), std::string::npos);
}

TEST_F(ControlTest, ShowsWhatTheDeviceSaysOfItself) {
  open();
  EXPECT_EQ(say("show port regs 0"), "port 0 (loop0): loopback lists no registers\n");
  EXPECT_EQ(say("show port xstats 0"), "port 0 (loop0): loopback has no counters of its own\n");
  lab_.port[0]->device_stats = {{"rx_crc_errors", 7}};
  EXPECT_EQ(say("show port xstats 0"), "port 0 (loop0)\n  rx_crc_errors: 7\n");
  lab_.port[0]->device_registers = {{"CTRL", 0, 0x40, "SLU"}, {"STATUS", 8, 2, ""}};
  EXPECT_EQ(say("show port regs 0"),
            "port 0 (loop0)\n  CTRL      0x00000  0x00000040  SLU\n  STATUS    0x00008  0x00000002\n");
  EXPECT_EQ(say("show port 0 regs changed"), "port 0 (loop0)\n");
  lab_.port[0]->device_registers[1].value = 3;
  EXPECT_EQ(say("show port regs 0 changed"),
            "port 0 (loop0)\n  STATUS    0x00008  0x00000003 (was 0x00000002)\n");
  EXPECT_NE(say("show port regs 0 all").find("show port regs N|all [changed]"), std::string::npos);
  EXPECT_NE(say("show port stats 0 changed").find("show port regs"), std::string::npos);
}

TEST_F(ControlTest, FlowControlIsSetAsTestpmdSpellsIt) {
  open();
  const pmd::FlowControl& set = lab_.port[0]->flow_control_set;
  EXPECT_EQ(say("set flow_ctrl rx on tx on 8192 4096 100 0 mac_ctrl_frame_fwd off autoneg off 0"),
            "port 0 (loop0): flow control set\n");
  EXPECT_EQ(set, (pmd::FlowControl{true, true, 8192, 4096, 100, false}));
  EXPECT_EQ(say("set flow_ctrl rx off 0"), "port 0 (loop0): flow control set\n");
  EXPECT_EQ(set, (pmd::FlowControl{false, true, 8192, 4096, 100, false})) << "the rest stays";
  (void)say("set flow_ctrl high_water 16384 send_xon 1 0");
  EXPECT_EQ(set, (pmd::FlowControl{false, true, 16384, 4096, 100, true}));
  EXPECT_EQ(say("show port 0 flow_ctrl"),
            "port 0 (loop0): rx pause off, tx pause on, high water 16384, low water 4096, pause time 0x64, "
            "XON on\n");
  for (const char* wrong : {"set flow_ctrl", "set flow_ctrl rx maybe 0", "set flow_ctrl autoneg on 0",
                            "set flow_ctrl 1 2 3 1 5 0", "set flow_ctrl rx 0", "set flow_ctrl colour on 0"}) {
    EXPECT_NE(say(wrong).find("set flow_ctrl [rx on|off]"), std::string::npos) << wrong;
  }
  EXPECT_NE(say("set flow_ctrl rx on 7").find("Bad port"), std::string::npos);
}

/// A directory that goes with the test.
class OutputTest : public testing::Test {
 protected:
  OutputTest() {
    char pattern[] = "/tmp/spinring-output.XXXXXX";
    directory_ = ::mkdtemp(pattern);
  }
  ~OutputTest() override { (void)!std::system(("rm -rf " + directory_).c_str()); }
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  std::string directory_;
};

TEST_F(OutputTest, AFileIsReplacedAsAWhole) {
  const std::string path = directory_ + "/stats.json";
  EXPECT_FALSE(write_file(path, "old\n"));
  struct stat before {};
  ASSERT_EQ(::stat(path.c_str(), &before), 0);
  const Fd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(write_file(path, "new\n"));
  EXPECT_EQ(read(path), "new\n");
  char seen[8] = {};
  EXPECT_EQ(::read(reader.get(), seen, sizeof seen), 4);
  EXPECT_STREQ(seen, "old\n") << "who had it open still reads the old file, whole";
  struct stat after {};
  ASSERT_EQ(::stat(path.c_str(), &after), 0);
  EXPECT_NE(before.st_ino, after.st_ino);
  EXPECT_EQ(std::system(("test $(ls " + directory_ + " | wc -l) = 1").c_str()), 0)
      << "no temporary file is left";
}

TEST_F(OutputTest, ADeviceOrPipeIsWrittenInPlace) {
  EXPECT_FALSE(write_file("/dev/null", "x"));
  struct stat status {};
  ASSERT_EQ(::stat("/dev/null", &status), 0);
  EXPECT_TRUE(S_ISCHR(status.st_mode)) << "not replaced by a file";
  const std::string path = directory_ + "/pipe";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const Fd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  EXPECT_FALSE(write_file(path, "through"));
  char seen[16] = {};
  EXPECT_EQ(::read(reader.get(), seen, sizeof seen), 7);
  EXPECT_STREQ(seen, "through");
}

TEST_F(OutputTest, AFailureNamesFileAndReason) {
  const auto error = write_file(directory_ + "/no/such/place", "x");
  ASSERT_TRUE(error);
  EXPECT_NE(error->find("/no/such/place"), std::string::npos);
  EXPECT_NE(error->find("No such file"), std::string::npos);
  EXPECT_TRUE(write_file("/dev/full", "x")) << "a device that takes nothing";
}

}  // namespace
}  // namespace spinring::testpmd
