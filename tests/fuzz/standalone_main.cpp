// Runs a fuzzer's entry point without libFuzzer: over the files of a corpus folder, then over seeded random
// inputs for some seconds. The same every time but for how far it gets.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Input = std::vector<std::uint8_t>;

bool run(const Input& input, const std::string& name) {
  try {
    LLVMFuzzerTestOneInput(input.data(), input.size());
    return true;
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "%s: %s\n", name.c_str(), failure.what());
    std::ofstream("crash-" + name, std::ios::binary)
        .write(reinterpret_cast<const char*>(input.data()), static_cast<std::streamsize>(input.size()));
    return false;
  }
}

/// Random bytes, or an earlier input with some of its bytes changed.
Input make_input(std::mt19937& random, const std::vector<Input>& corpus) {
  const auto below = [&](std::size_t limit) { return random() % limit; };
  if (!corpus.empty() && below(2) == 0) {
    Input input = corpus[below(corpus.size())];
    for (std::size_t left = below(8); left > 0 && !input.empty(); --left) {
      input[below(input.size())] = static_cast<std::uint8_t>(random());
    }
    return input;
  }
  Input input(below(1200));
  for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s CORPUS_FOLDER SECONDS\n", argv[0]);
    return 2;
  }
  std::vector<Input> corpus;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) {
    std::ifstream file(entry.path(), std::ios::binary);
    corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    if (!run(corpus.back(), entry.path().filename())) return 1;
  }
  if (corpus.empty()) {
    std::fprintf(stderr, "%s has no inputs\n", argv[1]);
    return 1;
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::atoi(argv[2]));
  std::uint32_t seed = 0;
  for (; std::chrono::steady_clock::now() < end; ++seed) {
    std::mt19937 random(seed);
    if (!run(make_input(random, corpus), "seed-" + std::to_string(seed))) return 1;
  }
  std::printf("%zu inputs of the corpus and %u random ones\n", corpus.size(), seed);
  return 0;
}
