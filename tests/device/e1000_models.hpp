#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "tests/device/virtio_lab.hpp"

namespace spinring::test {

/// QEMU's models of the e1000 family.
inline const auto kE1000Models = testing::Values("e1000", "e1000-82544gc", "e1000-82545em", "e1000e", "igb");

/// A model's name as a test's.
inline std::string model_name(const testing::TestParamInfo<const char*>& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

/// A test of each model, by name.
class E1000Test : public testing::TestWithParam<const char*> {};

/// Waits until the link is up: QEMU's models take half a second after a reset.
inline void expect_link(Lab& lab, bool up = true) {
  EXPECT_TRUE(wait_until([&] { return lab.port->link().up == up; }, Deadline(kPatience), 5ms));
}

/// Lab::start(), and the link.
inline void start_with_link(Lab& lab, const Run& run = {}) {
  lab.start(run);
  expect_link(lab);
}

/// The same in both directions: what is sent by one side is received by the other.
inline void expect_both_ways(Lab& lab, const std::vector<Frame>& frames, std::size_t burst = 32) {
  lab.peer_send(frames);
  ASSERT_TRUE(lab.receive(frames.size(), burst) == frames);
  lab.send(frames, burst);
  ASSERT_TRUE(lab.peer_receive(frames.size()) == frames);
}

}  // namespace spinring::test
