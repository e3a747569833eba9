#include "lcore/errors.hpp"

#include <string>

namespace spinring::lcore {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "lcore"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kBadCoreList:
        return "not a core list";
      case Errc::kCpuNotAvailable:
        return "this CPU may not be used";
      case Errc::kThread:
        return "the thread could not be started";
      case Errc::kTimeout:
        return "the lcore did not stop in time";
    }
    return "unknown error";
  }
};

}  // namespace

std::error_code make_error_code(Errc code) noexcept {
  static const Category category;
  return {static_cast<int>(code), category};
}

}  // namespace spinring::lcore
