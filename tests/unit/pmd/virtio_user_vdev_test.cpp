#include "pmd/virtio/vhost_user/virtio_user_vdev.hpp"

#include <gtest/gtest.h>

#include <string>

#include "pmd/errors.hpp"

namespace spinring::pmd::virtio::vhost_user {
namespace {

Config parsed(std::string_view text) {
  Result<Config> config = parse_virtio_user_vdev(text);
  if (!config) {
    ADD_FAILURE() << config.error().message();
    return {};
  }
  return *config;
}

TEST(VirtioUserVdev, APathIsEnough) {
  const Config config = parsed("virtio_user0,path=/tmp/sock");
  EXPECT_EQ(config.name, "virtio_user0");
  EXPECT_EQ(config.path, "/tmp/sock");
  EXPECT_EQ(config.queue_pairs, 1);
  EXPECT_EQ(config.queue_size, 256);
  EXPECT_FALSE(config.server || config.packed || config.mac);
  EXPECT_TRUE(config.mergeable && config.in_order && config.aligned_frames);
}

TEST(VirtioUserVdev, EveryKeyIsTaken) {
  const Config config = parsed(
      "net_virtio_user12,path=/tmp/sock,queues=128,queue_size=32768,server=1,mac=52:54:00:12:34:56,"
      "mrg_rxbuf=0,in_order=0,packed_vq=1,aligned=0");
  EXPECT_EQ(config.name, "net_virtio_user12");
  EXPECT_EQ(config.queue_pairs, 128);
  EXPECT_EQ(config.queue_size, 32768);
  EXPECT_TRUE(config.server && config.packed);
  EXPECT_FALSE(config.mergeable || config.in_order || config.aligned_frames);
  EXPECT_EQ(config.mac, (MacAddress{0x52, 0x54, 0x00, 0x12, 0x34, 0x56}));
  EXPECT_TRUE(parsed("virtio_user0,path=s,packed=1").packed);
}

struct Wrong {
  const char* text;
  const char* named;  ///< what the message must say
};

TEST(VirtioUserVdev, WhatIsWrongIsNamed) {
  const Wrong wrongs[] = {
      {"virtio_user0", "path=/tmp/vhost.sock"},
      {"virtio_user,path=s", "virtio_user0, virtio_user1"},
      {"virtio_userx,path=s", "virtio_user0, virtio_user1"},
      {"virtio_user0,path=s,aligned=2", "aligned=2"},
      {"virtio_user0,path=s,packed=yes", "packed=yes"},
      {"virtio_user0,path=s,queues=0", "queues=0"},
      {"virtio_user0,path=s,queues=129", "1 to 128"},
      {"virtio_user0,path=s,queue_size=1000", "power of two"},
      {"virtio_user0,path=s,queue_size=65536", "power of two"},
      {"virtio_user0,path=s,mac=53:54:00:12:34:56", "52:54:00:12:34:56"},
      {"virtio_user0,path=s,vectorized=1", "The keys are path"},
  };
  for (const Wrong& wrong : wrongs) {
    const Result<Config> config = parse_virtio_user_vdev(wrong.text);
    ASSERT_FALSE(config) << wrong.text;
    EXPECT_EQ(config.error().code, make_error_code(Errc::kBadArgument)) << wrong.text;
    EXPECT_NE(config.error().message().find(wrong.named), std::string::npos) << config.error().message();
  }
}

}  // namespace
}  // namespace spinring::pmd::virtio::vhost_user
