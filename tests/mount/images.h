// SPDX-License-Identifier: Apache-2.0
//
// Images for the mount tests, made and judged by the installed QEMU tools: what they say a chain
// contains is what its flat disk must contain.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <iostream>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/command.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs {

// A program that must succeed; what it says.
inline std::string MustRun(const std::vector<std::string>& words) {
  const CommandResult result = RunCommand(words);
  if (!result.ok()) {
    std::string line;
    for (const std::string& word : words) line += word + " ";
    ADD_FAILURE() << line << "\n" << result.Describe();
  }
  return result.out;
}

// Polls `holds` for as long as a loaded machine may need; only a failure waits that long.
inline bool Eventually(const std::function<bool()>& holds) {
  constexpr std::chrono::seconds kPatience{120};
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!holds()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

struct ImageOptions {
  std::string size = {};     // as qemu-img takes it; empty: the backing's
  std::string options = {};  // of -o
  std::string backing = {};
  std::string backing_format = "qcow2";
};

inline void CreateQcow2(const std::string& path, const ImageOptions& options) {
  std::vector<std::string> words = {"qemu-img", "create", "-q", "-f", "qcow2"};
  if (!options.options.empty()) words.insert(words.end(), {"-o", options.options});
  if (!options.backing.empty()) {
    words.insert(words.end(), {"-b", options.backing, "-F", options.backing_format});
  }
  words.push_back(path);
  if (!options.size.empty()) words.push_back(options.size);
  MustRun(words);
}

// Commands of qemu-io: "write -P 7 64k 4k".
inline void QemuIo(const std::string& path, const std::string& format,
                   const std::vector<std::string>& commands) {
  std::vector<std::string> words = {"qemu-io", "-f", format};
  for (const std::string& command : commands) words.insert(words.end(), {"-c", command});
  words.push_back(path);
  const CommandResult result = RunCommand(words);
  // qemu-io exits with 0 when a command fails.
  EXPECT_TRUE(result.ok() && result.out.find("failed") == std::string::npos) << path << "\n"
                                                                             << result.Describe();
}

// By its extension, as chainfs takes it.
inline std::string FormatOfImage(const std::string& path) {
  return path.ends_with(".qcow2") ? "qcow2" : "raw";
}

// What QEMU says that the image contains, as a raw file.
inline void Flatten(const std::string& image, const std::string& format, const std::string& out) {
  MustRun({"qemu-img", "convert", "-f", format, "-O", "raw", image, out});
}

// Exit code of qemu-img check: 0 clean, 3 leaks only. Says what it found unless that is expected.
inline int CheckImage(const std::string& image, bool leaks_expected = false) {
  const CommandResult result = RunCommand({"qemu-img", "check", "-f", "qcow2", image});
  if (result.exit_code != 0 && !(leaks_expected && result.exit_code == 3)) {
    // A line for each cluster would bury everything else.
    std::cerr << image << ": qemu-img check: exit code " << result.exit_code << "\n"
              << result.out << result.err.substr(0, 1000) << "\n";
  }
  return result.exit_code;
}

// `mebibytes` of bytes that no compression or zero detection makes smaller.
inline void WriteRandomFile(const std::string& path, size_t bytes, Random& random) {
  std::string text(bytes, '\0');
  random.Fill(std::as_writable_bytes(std::span(text)));
  WriteTextFile(path, text);
}

// Random writes, zeroes and discards within `size` bytes, at multiples of 512, as qemu-io commands.
inline std::vector<std::string> RandomWrites(Random& random, uint64_t size, int count) {
  std::vector<std::string> commands;
  for (int i = 0; i < count; ++i) {
    const uint64_t sectors = size / 512;
    const uint64_t start = random.Below(sectors);
    const uint64_t length = 1 + random.Below(std::min<uint64_t>(sectors - start, 300));
    std::string verb = "write -P " + std::to_string(1 + random.Below(255));
    if (random.OneIn(6)) verb = "write -z";
    if (random.OneIn(8)) verb = "discard";
    commands.push_back(verb + " " + std::to_string(start * 512) + " " +
                       std::to_string(length * 512));
  }
  return commands;
}

// Compares to the end, past the page cache.
inline testing::AssertionResult SameContents(const std::string& a, const std::string& b) {
  constexpr size_t kStep = size_t{1} << 20;
  const int fds[2] = {::open(a.c_str(), O_RDONLY | O_CLOEXEC),
                      ::open(b.c_str(), O_RDONLY | O_CLOEXEC)};
  std::string blocks[2];
  testing::AssertionResult result = testing::AssertionSuccess();
  for (uint64_t offset = 0; result; offset += blocks[0].size()) {
    for (int i = 0; i < 2; ++i) {
      if (offset == 0) ::posix_fadvise(fds[i], 0, 0, POSIX_FADV_DONTNEED);
      blocks[i].assign(kStep, '\0');
      size_t have = 0;
      for (ssize_t got = 1; got > 0 && have < kStep; have += static_cast<size_t>(got)) {
        got = ::pread(fds[i], blocks[i].data() + have, kStep - have,
                      static_cast<off_t>(offset + have));
        if (got < 0) {
          result = testing::AssertionFailure() << (i == 0 ? a : b) << ": " << std::strerror(errno);
          break;
        }
      }
      blocks[i].resize(have);
    }
    if (!result || blocks[0] != blocks[1]) break;
    if (blocks[0].empty()) break;
  }
  if (result && blocks[0] != blocks[1]) {
    size_t at = 0;
    while (at < blocks[0].size() && at < blocks[1].size() && blocks[0][at] == blocks[1][at]) ++at;
    result = testing::AssertionFailure()
             << a << " and " << b << " differ at " << at << " of a block, lengths "
             << blocks[0].size() << " and " << blocks[1].size();
  }
  for (const int fd : fds) ::close(fd);
  return result;
}

// An open file of the test, closed by itself.
class OpenedFile {
 public:
  OpenedFile(const std::string& path, int flags)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~OpenedFile() { Close(); }
  OpenedFile(const OpenedFile&) = delete;
  OpenedFile& operator=(const OpenedFile&) = delete;

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_;
};

}  // namespace chainfs
