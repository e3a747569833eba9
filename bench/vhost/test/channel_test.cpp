#include "bench/vhost/channel.hpp"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <string>
#include <thread>

#include "bench/vhost/errors.hpp"

namespace spinring::bench::vhost {
namespace {

std::array<Fd, 2> socket_pair() {
  std::array<int, 2> raw{};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, raw.data()), 0);
  return {Fd(raw[0]), Fd(raw[1])};
}

TEST(Channel, CarriesPayloadAndDescriptors) {
  auto sockets = socket_pair();
  Channel here(std::move(sockets[0]));
  Channel there(std::move(sockets[1]));
  Message message;
  message.request = Request::kSetVringKick;
  message.set(std::uint64_t{1});
  message.fds.emplace_back(::eventfd(5, EFD_NONBLOCK));
  ASSERT_TRUE(here.send(message));
  ASSERT_TRUE(there.readable(1000));
  const auto got = there.receive();
  ASSERT_TRUE(got);
  EXPECT_EQ(got->request, Request::kSetVringKick);
  EXPECT_EQ(got->as<std::uint64_t>(), 1U);
  EXPECT_FALSE(got->as<std::uint64_t>(1)) << "beyond the payload";
  ASSERT_EQ(got->fds.size(), 1U);
  std::uint64_t value = 0;
  ASSERT_EQ(::read(got->fds[0].get(), &value, sizeof(value)), 8);
  EXPECT_EQ(value, 5U);
}

TEST(Channel, RefusesAnotherVersionAndALongPayload) {
  for (const MessageHeader& header : {MessageHeader{1, 2, 0}, MessageHeader{1, kFlagVersion1, 100000}}) {
    auto sockets = socket_pair();
    ASSERT_EQ(::write(sockets[0].get(), &header, sizeof(header)), static_cast<ssize_t>(sizeof(header)));
    const auto got = Channel(std::move(sockets[1])).receive();
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Errc::kProtocol);
  }
}

TEST(Channel, SaysThatTheFrontEndHasGone) {
  auto sockets = socket_pair();
  const MessageHeader header{8, kFlagVersion1, 8};
  ASSERT_EQ(::write(sockets[0].get(), &header, sizeof(header)), static_cast<ssize_t>(sizeof(header)));
  sockets[0].reset();
  Channel channel(std::move(sockets[1]));
  const auto cut = channel.receive();
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, Errc::kDisconnected);
  const auto gone = channel.receive();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Errc::kDisconnected);
}

TEST(Listener, AcceptsAndRemovesItsFile) {
  const std::string path = testing::TempDir() + "spinring-vhost-" + std::to_string(::getpid()) + ".sock";
  {
    const auto listener = Listener::open(path);
    ASSERT_TRUE(listener) << listener.error().message();
    const auto nobody = listener->accept(Deadline(std::chrono::milliseconds(10)));
    ASSERT_FALSE(nobody);
    EXPECT_EQ(nobody.error().code, Errc::kTimeout);
    std::jthread front_end([&] { EXPECT_TRUE(connect_to(path, Deadline(std::chrono::seconds(5)))); });
    EXPECT_TRUE(listener->accept(Deadline(std::chrono::seconds(5))));
  }
  EXPECT_NE(::access(path.c_str(), F_OK), 0);
  EXPECT_FALSE(Listener::open(std::string(200, 'x')));
}

}  // namespace
}  // namespace spinring::bench::vhost
