#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cerrno>
#include <vector>

#include "base/align.hpp"
#include "base/dma.hpp"
#include "base/endian.hpp"
#include "base/fd.hpp"
#include "base/mapping.hpp"
#include "base/mmio.hpp"
#include "base/result.hpp"
#include "base/ring_index.hpp"
#include "base/time.hpp"

namespace spinring {
namespace {

using namespace std::chrono_literals;

TEST(ErrorMessage, NamesSubjectOperationReasonErrnoAndCure) {
  const Error error{std::make_error_code(std::errc::no_such_device), "opening", "/dev/vfio/7", EACCES,
                    "Run: chown $USER /dev/vfio/7"};
  EXPECT_EQ(error.message(),
            "/dev/vfio/7: opening: No such device (Permission denied). Run: chown $USER /dev/vfio/7");
}

TEST(ErrorMessage, LeavesOutWhatIsNotThere) {
  const Error error{std::make_error_code(std::errc::timed_out), "reset", "qtest0", 0, ""};
  EXPECT_EQ(error.message(), "qtest0: reset: Connection timed out");
}

TEST(RingDistance, WrapsAtTheWidthOfTheIndex) {
  EXPECT_EQ(ring_distance<std::uint16_t>(3, 65534), 5);
  EXPECT_EQ(ring_distance<std::uint16_t>(65534, 65534), 0);
  EXPECT_EQ(ring_distance<std::uint16_t>(0, 1), 65535);
  EXPECT_EQ(ring_slot<std::uint16_t>(258, 255), 2);
}

TEST(AlignUp, RoundsToTheNextMultiple) {
  EXPECT_EQ(align_up<std::size_t>(0, 64), 0U);
  EXPECT_EQ(align_up<std::size_t>(1, 64), 64U);
  EXPECT_EQ(align_up<std::size_t>(64, 64), 64U);
}

TEST(LittleEndianInteger, LiesLowByteFirst) {
  const Le32 value = 0x01020304U;
  const auto* bytes = reinterpret_cast<const unsigned char*>(&value);
  EXPECT_EQ(bytes[0], 4);
  EXPECT_EQ(bytes[3], 1);
  EXPECT_EQ(static_cast<std::uint32_t>(value), 0x01020304U);
}

TEST(OwningFd, ClosesOnceAndMoves) {
  const int raw = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_GE(raw, 0);
  {
    Fd first(raw);
    Fd second = std::move(first);
    EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that it is empty is what is tested
    EXPECT_EQ(second.get(), raw);
    EXPECT_GE(::fcntl(raw, F_GETFD), 0);
  }
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1);
}

TEST(OwningMapping, UnmapsWhenItGoes) {
  void* address = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(address, MAP_FAILED);
  { const Mapping mapping(address, 4096); }
  EXPECT_EQ(::msync(address, 4096, MS_ASYNC), -1);
  EXPECT_EQ(errno, ENOMEM);
}

TEST(Deadline, WaitUntilSeesALateConditionAndGivesUpOnNone) {
  int calls = 0;
  EXPECT_TRUE(wait_until([&] { return ++calls == 3; }, Deadline(1s)));
  EXPECT_EQ(calls, 3);
  EXPECT_FALSE(wait_until([] { return false; }, Deadline(1ms)));
}

TEST(TimeStampCounter, RunsAtAPlausibleRate) {
  EXPECT_GT(tsc_hz(), 10'000'000U);
  EXPECT_LT(tsc_hz(), 20'000'000'000U);
}

TEST(DoorbellValue, WritesTheMappedRegisterOrCalls) {
  std::array<std::uint16_t, 2> narrow{0xAAAA, 0xAAAA};
  Doorbell::mapped16(narrow.data()).ring(7);
  EXPECT_EQ(narrow, (std::array<std::uint16_t, 2>{7, 0xAAAA}));  // its neighbour is not touched
  std::uint32_t wide = 0xAAAA'AAAAU;
  Doorbell::mapped32(&wide).ring(9);
  EXPECT_EQ(wide, 9U);
  std::vector<std::uint32_t> calls;
  Doorbell::call(
      [](void* context, std::uint32_t value) {
        static_cast<std::vector<std::uint32_t>*>(context)->push_back(value);
      },
      &calls)
      .ring(3);
  EXPECT_EQ(calls, std::vector<std::uint32_t>{3});
  Doorbell{}.ring(1);  // an empty doorbell does nothing
}

class OffsetMapper final : public DmaMapper {
 private:
  Result<Iova> map(const MemoryRegion&) override { return Iova{0x10'0000}; }
  void unmap(const MemoryRegion&) noexcept override {}
};

TEST(DmaTranslation, IsOneAdditionPerRegion) {
  std::array<std::byte, 64> memory{};
  OffsetMapper mapper;
  ASSERT_TRUE(mapper.add(MemoryRegion{.va = memory.data(), .length = 64, .id = 3}));
  EXPECT_EQ(to_u64(mapper.table().iova(memory.data() + 5, 3)), 0x10'0005U);
}

}  // namespace
}  // namespace spinring
