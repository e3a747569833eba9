#include "pmd/errors.hpp"

#include <string>

namespace spinring::pmd {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "pmd"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kUnknownDevice:
        return "no driver for this device";
      case Errc::kBadDevice:
        return "the device contradicts its specification";
      case Errc::kFeature:
        return "a feature that is needed was refused";
      case Errc::kTimeout:
        return "no answer from the device in time";
      case Errc::kRejected:
        return "the device refused the command";
      case Errc::kUnsupported:
        return "not supported by this device";
      case Errc::kBadArgument:
        return "bad argument";
      case Errc::kBadState:
        return "not possible in this state";
      case Errc::kDeviceFault:
        return "the device has stopped with a fault";
      case Errc::kRemoved:
        return "the device has gone";
      case Errc::kQemu:
        return "QEMU is not there";
    }
    return "unknown error";
  }
};

}  // namespace

std::error_code make_error_code(Errc code) noexcept {
  static const Category category;
  return {static_cast<int>(code), category};
}

}  // namespace spinring::pmd
