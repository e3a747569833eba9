#pragma once

#include <span>
#include <string>

#include "base/mapping.hpp"
#include "base/result.hpp"
#include "bench/vhost/frames.hpp"

namespace spinring::bench::vhost {

/// The records of all streams in a file (--ledger): what a back end that is killed knew of sequence numbers,
/// the next one knows.
class Ledger {
 public:
  /// Goes on with the file at `path`, or begins it.
  static Result<Ledger> open(const std::string& path, unsigned streams);
  [[nodiscard]] std::span<StreamRecord> records() const noexcept {
    return {reinterpret_cast<StreamRecord*>(mapping_.data()), streams_};
  }

 private:
  Ledger(Mapping mapping, unsigned streams) : mapping_(std::move(mapping)), streams_(streams) {}

  Mapping mapping_;
  unsigned streams_;
};

}  // namespace spinring::bench::vhost
