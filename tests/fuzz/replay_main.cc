// SPDX-License-Identifier: Apache-2.0
//
// A fuzz target without a fuzzer: every file of its corpus, then mutations of them, as many as
// CHAINFS_FUZZ_RUNS says (default 2000). This is what the normal test run does with each target, in
// any build. An input that fails is left in the file that is named first on stderr.
//
//   header_fuzz [FILE...]     these files instead
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "tests/fuzz/fuzz_input.h"
#include "tests/support/effort.h"
#include "tests/support/random.h"

namespace chainfs {
namespace {

namespace fs = std::filesystem;
using Input = std::vector<uint8_t>;

constexpr unsigned kLongest = 60;  // seconds for one input, sanitizers and loaded machines included

Input ReadInput(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::vector<fs::path> FilesOf(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(directory, none)) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

// So that the input is there when the process is not any more.
class Runner {
 public:
  explicit Runner(const std::string& target)
      : last_(fs::temp_directory_path() / (target + "-input-" + std::to_string(::getpid()))) {}
  ~Runner() {
    std::error_code none;
    fs::remove(last_, none);
  }
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;

  const fs::path& last() const { return last_; }
  void Run(const Input& input) {
    {
      std::ofstream file(last_, std::ios::binary | std::ios::trunc);
      file.write(reinterpret_cast<const char*>(input.data()),
                 static_cast<std::streamsize>(input.size()));
    }
    ::alarm(kLongest);
    LLVMFuzzerTestOneInput(input.data(), input.size());
    ::alarm(0);
  }

 private:
  const fs::path last_;
};

// Bits, bytes, words of note, cuts, repetitions, and pieces of another input.
Input Mutate(Input input, const Input& other, Random& random) {
  static constexpr uint64_t kWords[] = {0,
                                        1,
                                        0x7f,
                                        0x80,
                                        0xff,
                                        0x1ff,
                                        0xffff,
                                        0x7fffffff,
                                        0xffffffff,
                                        uint64_t{1} << 62,
                                        uint64_t{1} << 63,
                                        UINT64_MAX};
  for (uint64_t changes = 1 + random.Below(4); changes > 0; --changes) {
    if (input.empty()) input.push_back(0);
    const size_t at = random.Below(input.size());
    switch (random.Below(6)) {
      case 0:
        input[at] = static_cast<uint8_t>(input[at] ^ 1u << random.Below(8));
        break;
      case 1:
        input[at] = static_cast<uint8_t>(random.Next());
        break;
      case 2: {
        const uint64_t word = kWords[random.Below(std::size(kWords))];
        for (size_t i = 0; i < 8 && at + i < input.size(); ++i) {
          input[at + i] = static_cast<uint8_t>(word >> 8 * (7 - i));
        }
        break;
      }
      case 3:
        input.resize(at);
        break;
      case 4:
        input.insert(input.end(), input.begin() + static_cast<int64_t>(at), input.end());
        break;
      default:
        input.resize(at);
        if (!other.empty()) {
          input.insert(input.end(),
                       other.begin() + static_cast<int64_t>(random.Below(other.size())),
                       other.end());
        }
        break;
    }
    if (input.size() > size_t{64} << 10) input.resize(size_t{64} << 10);
  }
  return input;
}

int Main(const std::string& target, std::vector<fs::path> files) {
  Runner runner(target);
  std::printf("%s: a failing input is left in %s\n", target.c_str(), runner.last().c_str());
  std::fflush(stdout);
  uint64_t runs = 0;
  if (files.empty()) {
    const char* const sources = std::getenv("CHAINFS_SOURCE_DIR");
    files = FilesOf(fs::path(sources == nullptr ? "." : sources) / "tests/fuzz/corpus" / target);
    if (files.empty()) {
      std::fprintf(stderr, "%s: no corpus; set CHAINFS_SOURCE_DIR\n", target.c_str());
      return 1;
    }
    runs = FromEnvironment("CHAINFS_FUZZ_RUNS", 2000);
  }
  std::vector<Input> corpus;
  for (const fs::path& file : files) {
    corpus.push_back(ReadInput(file));
    runner.Run(corpus.back());
  }
  Random random;
  const auto begin = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < runs; ++i) {
    runner.Run(
        Mutate(corpus[random.Below(corpus.size())], corpus[random.Below(corpus.size())], random));
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  std::printf("%s: %zu files, %llu mutations in %.1f s\n", target.c_str(), files.size(),
              static_cast<unsigned long long>(runs), took.count());
  return 0;
}

}  // namespace
}  // namespace chainfs

int main(int argc, char** argv) {
  const std::filesystem::path program(argv[0]);
  return chainfs::Main(program.filename().string(),
                       std::vector<std::filesystem::path>(argv + 1, argv + argc));
}
