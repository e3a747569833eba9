#include "mempool/errors.hpp"

#include <string>

namespace spinring::mempool {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "mempool"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kNoHugepages:
        return "too few free hugepages";
      case Errc::kPageSize:
        return "no pages of that size here";
      case Errc::kBadArgument:
        return "bad argument";
      case Errc::kOutOfMemory:
        return "no room left in the packet memory";
      case Errc::kTooManyRegions:
        return "too many memory regions";
      case Errc::kKernel:
        return "the kernel refused";
      case Errc::kLockLimit:
        return "the limit of locked memory is too low";
    }
    return "unknown error";
  }
};

}  // namespace

std::error_code make_error_code(Errc code) noexcept {
  static const Category category;
  return {static_cast<int>(code), category};
}

}  // namespace spinring::mempool
