#include "vfio_glue/pci_address.hpp"

#include <gtest/gtest.h>

#include "vfio_glue/errors.hpp"

namespace spinring::vfio_glue {
namespace {

TEST(PciAddressText, ReadsWithAndWithoutDomain) {
  EXPECT_EQ(PciAddress::parse("0000:01:1f.7").value(), (PciAddress{0, 1, 31, 7}));
  EXPECT_EQ(PciAddress::parse("af:00.1").value(), (PciAddress{0, 0xaf, 0, 1}));
  EXPECT_EQ(PciAddress::parse("10000:e1:00.0").value(), (PciAddress{0x10000, 0xe1, 0, 0}));
}

TEST(PciAddressText, IsWrittenAsSysfsWritesIt) {
  EXPECT_EQ((PciAddress{0, 1, 31, 7}.to_string()), "0000:01:1f.7");
  EXPECT_EQ((PciAddress{0x10000, 0xe1, 0, 0}.to_string()), "10000:e1:00.0");
}

TEST(PciAddressText, RefusesEverythingElse) {
  for (const char* text :
       {"", "eth0", "0000:01:00", "0000:01:00.8", "0000:01:20.0", "0000:01:00.0 ", "-1:00.0", "0000:100:00.0",
        "0:0:0:0.0", "123456789:01:00.0", "0000:01:00.", ":01:00.0"}) {
    const Result<PciAddress> parsed = PciAddress::parse(text);
    ASSERT_FALSE(parsed.has_value()) << text;
    EXPECT_EQ(parsed.error().code, make_error_code(Errc::kBadAddress));
    EXPECT_EQ(parsed.error().subject, text);
  }
}

}  // namespace
}  // namespace spinring::vfio_glue
