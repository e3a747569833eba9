#include "pmd/e1000/nvm.hpp"

#include <fmt/format.h>

#include <chrono>
#include <numeric>

#include "base/time.hpp"
#include "pmd/e1000/registers.hpp"
#include "pmd/errors.hpp"

namespace spinring::pmd::e1000 {

using namespace std::chrono_literals;

Result<std::uint16_t> Nvm::read(std::uint16_t word) {
  mmio::write(registers_, Eerd{std::uint32_t{word} << layout_.address_shift} | Eerd::kStart(1));
  Eerd answer;
  const auto done = [&] {
    answer = mmio::read<Eerd>(registers_);
    return (answer.raw & layout_.done) != 0;
  };
  if (!wait_until(done, Deadline(50ms), 10us)) {
    return fail(Errc::kTimeout, fmt::format("NVM word {}", word), name_, 0, "EERD did not become done");
  }
  return static_cast<std::uint16_t>(Eerd::kData.get(answer));
}

Result<Nvm::Words> Nvm::read_all() {
  Words words{};
  for (std::uint16_t at = 0; at < kWords; ++at) {
    auto word = read(at);
    if (!word) return fail(std::move(word));
    words[at] = *word;
  }
  return words;
}

bool Nvm::is_sound(const Words& words) noexcept {
  constexpr std::uint16_t kSum = 0xBABA;
  return static_cast<std::uint16_t>(std::accumulate(words.begin(), words.end(), 0U)) == kSum;
}

MacAddress Nvm::address(const Words& words) noexcept {
  MacAddress mac{};
  for (std::size_t i = 0; i < mac.size(); ++i) {
    mac[i] = static_cast<std::uint8_t>(words[i / 2] >> (i % 2 == 0 ? 0 : 8));
  }
  return mac;
}

}  // namespace spinring::pmd::e1000
