#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"

namespace spinring::bench::vhost {

/// Which function, of which file, an address of a process belongs to: from its maps and the files' ELF
/// symbols.
class SymbolTable {
 public:
  static Result<SymbolTable> of_process(pid_t process);

  struct Place {
    std::string object;    ///< the file's name without its folder
    std::string function;  ///< mangled; empty in a stripped file without a symbol there
  };
  [[nodiscard]] Place find(std::uint64_t address) const;

 private:
  struct Function {
    std::uint64_t start;  ///< in the process
    std::uint64_t size;
    std::string name;
  };
  struct Object {
    std::uint64_t start;
    std::uint64_t end;
    std::string name;
    std::vector<Function> functions;  ///< sorted by start
  };

  static std::vector<Function> read_functions(const std::string& path, std::uint64_t start,
                                              std::uint64_t offset);

  std::vector<Object> objects_;
};

}  // namespace spinring::bench::vhost
