// The mailbox of a virtual function: what it makes of a physical function that is silent, refuses, lies,
// chatters or is reset. No wait is without end.

#include <gtest/gtest.h>

#include "pmd/e1000/mailbox.hpp"
#include "pmd/errors.hpp"
#include "tests/unit/pmd/fake_igbvf.hpp"

namespace spinring::test {
namespace {

using namespace std::chrono_literals;
using pmd::e1000::Mailbox;

constexpr std::uint32_t kReset = 1;
constexpr std::uint32_t kSetVlan = 4;

struct MailboxTest : testing::Test {
  FakeIgbvf device;
  std::string name = "fake0";
  Mailbox mailbox{device, name, {.reset = 20ms, .answer = 20ms, .buffer = 5ms}};

  Result<Mailbox::Reply> ask(std::initializer_list<std::uint32_t> words) {
    return mailbox.ask(std::span(words.begin(), words.size()));
  }
  /// Until the physical function knows this one.
  void introduce() {
    ASSERT_TRUE(mailbox.begin());
    ASSERT_TRUE(ask({kReset}));
    device.heard.clear();
  }
  template <class T>
  static void expect_error(const Result<T>& result, pmd::Errc code, const char* text) {
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code, code) << result.error().message();
    EXPECT_NE(result.error().message().find(text), std::string::npos) << result.error().message();
  }
};

TEST_F(MailboxTest, CarriesMessageAndAnswer) {
  ASSERT_TRUE(mailbox.begin());
  const auto reset = ask({kReset});
  ASSERT_TRUE(reset);
  EXPECT_TRUE(reset->accepted);
  EXPECT_EQ(reset->words, (Mailbox::Words{kReset | FakeIgbvf::kAck, 0x12005452, 0x5634}));
  const auto vlan = ask({kSetVlan | 1U << 16, 77});
  ASSERT_TRUE(vlan);
  EXPECT_TRUE(vlan->accepted);
  ASSERT_EQ(device.heard.size(), 2U);
  EXPECT_EQ(device.heard[1][0], kSetVlan | 1U << 16);
  EXPECT_EQ(device.heard[1][1], 77U);
  EXPECT_EQ(device.acknowledged, 2U);
  EXPECT_EQ(device.at(FakeIgbvf::kMailbox) & 4U, 0U) << "the buffer is given back";
  EXPECT_FALSE(mailbox.lost());
}

TEST_F(MailboxTest, ARefusalIsAnAnswer) {
  introduce();
  device.refuses.insert(kSetVlan);
  const auto vlan = ask({kSetVlan, 5});
  ASSERT_TRUE(vlan);
  EXPECT_FALSE(vlan->accepted);
  EXPECT_FALSE(mailbox.lost());
}

TEST_F(MailboxTest, ASilentPhysicalFunctionIsGivenUp) {
  introduce();
  device.answers = false;
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kTimeout, "SET_VLAN");
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kTimeout, "ip link set DEVICE up");
}

TEST_F(MailboxTest, AnEndlessResetIsGivenUp) {
  device.begin_reset();
  expect_error(mailbox.begin(), pmd::Errc::kTimeout, "RSTI");
  EXPECT_TRUE(mailbox.resetting());
}

TEST_F(MailboxTest, ABufferThatIsNotGivenBackIsGivenUp) {
  introduce();
  device.holds_buffer = true;
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kTimeout, "PFU");
  EXPECT_TRUE(device.heard.empty());
}

TEST_F(MailboxTest, AMessageThatWasOverwrittenIsSentAgain) {
  introduce();
  int left = 1;
  device.before_reading = [&] {
    if (left-- > 0) device.say(FakeIgbvf::kControl | FakeIgbvf::kClearToSend);
  };
  const auto vlan = ask({kSetVlan, 5});
  ASSERT_TRUE(vlan);
  EXPECT_TRUE(vlan->accepted);
  EXPECT_EQ(device.heard.size(), 1U);
}

TEST_F(MailboxTest, EndlessChatterIsGivenUp) {
  introduce();
  device.before_reading = [&] { device.say(FakeIgbvf::kControl | FakeIgbvf::kClearToSend); };
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kTimeout, "SET_VLAN");
}

TEST_F(MailboxTest, AnAnswerToAnotherMessageIsNone) {
  introduce();
  device.answers = false;
  device.before_reading = [&] { device.say(kReset | FakeIgbvf::kClearToSend | FakeIgbvf::kAck); };
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kTimeout, "SET_VLAN");
}

TEST_F(MailboxTest, YesAndNoIsNo) {
  introduce();
  device.answers = false;
  device.before_reading = [&] {
    device.say(kSetVlan | FakeIgbvf::kClearToSend | FakeIgbvf::kAck | FakeIgbvf::kNack);
  };
  const auto vlan = ask({kSetVlan, 5});
  ASSERT_TRUE(vlan);
  EXPECT_FALSE(vlan->accepted);
}

TEST_F(MailboxTest, ItsOwnWordsReadBackAreNoAnswer) {
  introduce();
  device.answers = false;
  device.before_reading = [&] { device.at(FakeIgbvf::kMailbox) |= 1U << 4; };  // PFSTS, and nothing written
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kDeviceFault, "SET_VLAN");
}

TEST_F(MailboxTest, ALinkChangeLosesNothing) {
  introduce();
  device.say(FakeIgbvf::kControl | FakeIgbvf::kClearToSend);
  mailbox.look();
  EXPECT_FALSE(mailbox.lost());
  EXPECT_EQ(device.at(FakeIgbvf::kMailbox) & 0x30U, 0U);
  EXPECT_TRUE(ask({kSetVlan, 5}));
}

TEST_F(MailboxTest, WithoutClearToSendAllIsForgotten) {
  introduce();
  device.say(FakeIgbvf::kControl);
  mailbox.look();
  EXPECT_TRUE(mailbox.lost());
  ASSERT_TRUE(mailbox.begin());
  EXPECT_FALSE(mailbox.lost());
}

TEST_F(MailboxTest, AResetIsSeenWheneverItIs) {
  introduce();
  device.begin_reset();
  mailbox.look();
  EXPECT_TRUE(mailbox.lost() && mailbox.resetting());
  device.end_reset();
  mailbox.look();
  EXPECT_TRUE(mailbox.lost() && !mailbox.resetting());
  introduce();
  // One that was over before anybody looked.
  device.end_reset();
  mailbox.look();
  EXPECT_TRUE(mailbox.lost() && !mailbox.resetting());
  introduce();
  device.before_reading = [&] { device.begin_reset(); };
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kDeviceFault, "stop and start");
}

TEST_F(MailboxTest, ADeviceThatIsGoneIsGivenUp) {
  introduce();
  device.status = 0xFFFF'FFFF;
  expect_error(ask({kSetVlan, 5}), pmd::Errc::kTimeout, "SET_VLAN");
  EXPECT_FALSE(mailbox.lost()) << "all ones say nothing";
}

}  // namespace
}  // namespace spinring::test
