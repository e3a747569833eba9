#include "bench/vhost/symbol_table.hpp"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <span>

#include "base/fd.hpp"
#include "base/mapping.hpp"
#include "bench/vhost/process_maps.hpp"

namespace spinring::bench::vhost {
namespace {

/// An ELF file, mapped; every look into it is checked.
class ElfFile {
 public:
  static std::optional<ElfFile> open(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0 || status.st_size < static_cast<off_t>(sizeof(Elf64_Ehdr)))
      return {};
    const auto size = static_cast<std::size_t>(status.st_size);
    void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) return {};
    ElfFile file{Mapping(address, size)};
    if (std::memcmp(file.header().e_ident, ELFMAG, SELFMAG) != 0 ||
        file.header().e_ident[EI_CLASS] != ELFCLASS64) {
      return {};
    }
    return file;
  }

  template <class T>
  [[nodiscard]] std::span<const T> table(std::uint64_t offset, std::uint64_t bytes) const {
    if (offset > mapping_.size() || bytes > mapping_.size() - offset) return {};
    return {reinterpret_cast<const T*>(mapping_.data() + offset), bytes / sizeof(T)};
  }
  [[nodiscard]] const Elf64_Ehdr& header() const {
    return *reinterpret_cast<const Elf64_Ehdr*>(mapping_.data());
  }
  [[nodiscard]] std::span<const Elf64_Shdr> sections() const {
    return table<Elf64_Shdr>(header().e_shoff, std::uint64_t{header().e_shnum} * sizeof(Elf64_Shdr));
  }
  [[nodiscard]] std::span<const Elf64_Phdr> segments() const {
    return table<Elf64_Phdr>(header().e_phoff, std::uint64_t{header().e_phnum} * sizeof(Elf64_Phdr));
  }

 private:
  explicit ElfFile(Mapping mapping) : mapping_(std::move(mapping)) {}

  Mapping mapping_;
};

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

std::vector<SymbolTable::Function> SymbolTable::read_functions(const std::string& path, std::uint64_t start,
                                                               std::uint64_t offset) {
  std::vector<Function> functions;
  const auto file = ElfFile::open(path);
  if (!file) return functions;
  // Virtual address in the file -> address in the process, through the segment that this mapping shows.
  std::optional<std::uint64_t> slide;
  for (const Elf64_Phdr& segment : file->segments()) {
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    slide = start - offset + segment.p_offset - segment.p_vaddr;
  }
  if (!slide) return functions;
  for (const Elf64_Shdr& section : file->sections()) {
    if ((section.sh_type != SHT_SYMTAB && section.sh_type != SHT_DYNSYM) ||
        section.sh_link >= file->sections().size()) {
      continue;
    }
    const Elf64_Shdr& strings = file->sections()[section.sh_link];
    const auto names = file->table<char>(strings.sh_offset, strings.sh_size);
    for (const Elf64_Sym& symbol : file->table<Elf64_Sym>(section.sh_offset, section.sh_size)) {
      if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || symbol.st_size == 0 || symbol.st_name >= names.size())
        continue;
      const char* name = names.data() + symbol.st_name;
      functions.push_back({symbol.st_value + *slide, symbol.st_size,
                           std::string(name, ::strnlen(name, names.size() - symbol.st_name))});
    }
  }
  std::ranges::sort(functions, {}, &Function::start);
  return functions;
}

Result<SymbolTable> SymbolTable::of_process(pid_t process) {
  auto maps = read_maps(process);
  if (!maps) return fail(std::move(maps));
  SymbolTable table;
  for (const ProcessMapping& mapping : *maps) {
    if (mapping.access.find('x') == std::string::npos) continue;
    table.objects_.push_back({mapping.start, mapping.end, base_name(mapping.file),
                              read_functions(mapping.file, mapping.start, mapping.offset)});
  }
  return table;
}

SymbolTable::Place SymbolTable::find(std::uint64_t address) const {
  for (const Object& object : objects_) {
    if (address < object.start || address >= object.end) continue;
    Place place{object.name, ""};
    auto after = std::ranges::upper_bound(object.functions, address, {}, &Function::start);
    if (after != object.functions.begin()) {
      const Function& function = *std::prev(after);
      if (address - function.start < function.size) place.function = function.name;
    }
    return place;
  }
  return {};
}

}  // namespace spinring::bench::vhost
