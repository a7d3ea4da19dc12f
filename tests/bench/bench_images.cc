// SPDX-License-Identifier: Apache-2.0
//
// The head of bench_images.h says what this is.
#include "tests/bench/bench_images.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "tests/bench/bench_process.h"
#include "tests/support/random.h"

namespace chainfs::bench {
namespace {

// The layer, from 0, that holds a run: splitmix64 of its number.
uint64_t OwnerOf(uint64_t number, uint64_t depth) {
  uint64_t z = (number + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return (z ^ (z >> 31)) % depth;
}

// For each layer the qemu-io commands that fill its runs, neighbours joined.
std::vector<std::string> FillCommands(uint64_t depth, uint64_t size, uint64_t run) {
  constexpr uint64_t kLongestCommand = 16 * kMiB;
  std::vector<std::string> commands(depth);
  for (uint64_t start = 0; start < size;) {
    const uint64_t owner = OwnerOf(start / run, depth);
    uint64_t end = start + run;
    while (end < size && end - start < kLongestCommand && OwnerOf(end / run, depth) == owner) {
      end += run;
    }
    end = std::min(end, size);
    commands[owner] += fmt::format("write -q -P {} {} {}\n", owner % 255 + 1, start, end - start);
    start = end;
  }
  return commands;
}

std::string LayerName(uint64_t number) { return fmt::format("layer-{}.qcow2", number); }

// An overlay whose backing image qemu-img does not open: quick at any depth.
void CreateUnchecked(const std::string& path, const std::string& backing, uint64_t size) {
  std::vector<std::string> command = {"qemu-img", "create", "-q", "-f", "qcow2"};
  if (!backing.empty()) {
    for (const char* word : {"-u", "-F", "qcow2", "-b"}) command.emplace_back(word);
    command.push_back(backing);
  }
  command.push_back(path);
  command.push_back(std::to_string(size));
  RunOrFail(command);
}

void MakeSparseRaw(const std::string& path, uint64_t size) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(size)) != 0) Fail("cannot make " + path);
  close(fd);
}

}  // namespace

void MakeRaw(const std::string& path, uint64_t size) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) Fail("cannot make " + path);
  std::vector<std::byte> buffer(kMiB);
  Random random(1);
  for (uint64_t offset = 0; offset < size; offset += kMiB) {
    random.Fill(buffer);
    if (write(fd, buffer.data(), buffer.size()) != static_cast<ssize_t>(kMiB)) {
      Fail("cannot fill " + path + ": is the directory large enough?");
    }
  }
  close(fd);
}

std::string MakeChain(const std::string& dir, uint64_t depth, uint64_t size, uint64_t run) {
  std::filesystem::create_directories(dir);
  const std::vector<std::string> commands = FillCommands(depth, size, run);
  std::string path;
  for (uint64_t layer = 0; layer < depth; ++layer) {
    path = dir + "/" + LayerName(layer + 1);
    CreateUnchecked(path, layer == 0 ? "" : LayerName(layer), size);
    RunOrFail({"qemu-io", fmt::format(R"(json:{{"driver":"qcow2","backing":null,"discard":"unmap",)"
                                      R"("file":{{"driver":"file","filename":"{}"}}}})",
                                      path)},
              commands[layer]);
  }
  return path;
}

std::string CopyBeside(const std::string& image, const std::string& name) {
  std::string copy = std::filesystem::path(image).replace_filename(name);
  RunOrFail({"cp", image, copy});
  return copy;
}

void CopyDirectory(const std::string& from, const std::string& to) {
  std::filesystem::remove_all(to);
  RunOrFail({"cp", "-r", "--reflink=auto", from, to});
}

std::string MakeOverlay(const std::string& base, const std::string& name,
                        const std::string& options) {
  std::string path = std::filesystem::path(base).replace_filename(name);
  std::filesystem::remove(path);
  RunOrFail({"qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-F", "qcow2", "-b",
             std::filesystem::path(base).filename(), path});
  return path;
}

void MakeAllocatedSparse(const std::string& path, uint64_t size) {
  RunOrFail({"qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path,
             std::to_string(size)});
}

void MakeManyChains(const std::string& dir, int count) {
  constexpr uint64_t kSize = 64 * kMiB;
  std::filesystem::create_directories(dir);
  const std::string model = dir + "/disk-0.qcow2";
  CreateUnchecked(model, "", kSize);
  RunOrFail({"qemu-io", "-f", "qcow2", "-c", "write -q -P 7 0 1M", model});
  for (int i = 1; i < count; ++i) {
    const std::string stem = fmt::format("{}/disk-{}", dir, i);
    switch (i % 5) {
      case 0:  // an overlay on an image of its own
        std::filesystem::copy_file(model, fmt::format("{}/base-{}.qcow2", dir, i));
        CreateUnchecked(stem + ".qcow2", fmt::format("base-{}.qcow2", i), kSize);
        break;
      case 1:
      case 2:
        MakeSparseRaw(stem + ".img", kSize);
        break;
      default:
        std::filesystem::copy_file(model, stem + ".qcow2");
    }
  }
}

}  // namespace chainfs::bench
