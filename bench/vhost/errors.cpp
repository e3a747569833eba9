#include "bench/vhost/errors.hpp"

#include <string>

namespace spinring::bench::vhost {
namespace {

class Category final : public std::error_category {
 public:
  [[nodiscard]] const char* name() const noexcept override { return "vhost"; }
  [[nodiscard]] std::string message(int value) const override {
    switch (static_cast<Errc>(value)) {
      case Errc::kSystem:
        return "a system call failed";
      case Errc::kProtocol:
        return "the front end broke the vhost-user protocol";
      case Errc::kMemory:
        return "not in the front end's memory";
      case Errc::kBadArgument:
        return "bad argument";
      case Errc::kDisconnected:
        return "the front end has gone";
      case Errc::kTimeout:
        return "nobody came in time";
    }
    return "unknown error";
  }
};

}  // namespace

std::error_code make_error_code(Errc code) noexcept {
  static const Category category;
  return {static_cast<int>(code), category};
}

}  // namespace spinring::bench::vhost
