// SPDX-License-Identifier: Apache-2.0
#include "tests/support/hostile_images.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <vector>

#include "blocklayer/base/endian.h"

namespace chainfs {
namespace {

constexpr uint64_t kCopied = 1ull << 63;
constexpr uint64_t kDirty = 1;

// A file that is written here and there.
class Patch {
 public:
  explicit Patch(const std::string& path)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    EXPECT_GE(fd_, 0) << path;
  }
  ~Patch() { ::close(fd_); }
  Patch(const Patch&) = delete;
  Patch& operator=(const Patch&) = delete;

  void Put(uint64_t offset, std::span<const std::byte> bytes) const {
    EXPECT_EQ(::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
  }
  template <typename T>
  void PutWord(uint64_t offset, T value) const {
    std::array<std::byte, sizeof(T)> raw;
    StoreBigEndian(raw.data(), value);
    Put(offset, raw);
  }
  void Resize(uint64_t bytes) const { EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(bytes)), 0); }
  uint64_t size() const { return static_cast<uint64_t>(::lseek(fd_, 0, SEEK_END)); }

 private:
  const int fd_;
};

// Values that lie next to where something changes.
uint64_t Boundary(Random& random) {
  switch (random.Below(6)) {
    case 0:
      return 0;
    case 1:
      return UINT64_MAX >> random.Below(64);
    case 2:
      return (uint64_t{1} << random.Below(64)) + random.Below(3) - 1;
    case 3:
      return (random.Below(64) << 16) | (random.OneIn(2) ? kCopied : 0);
    case 4:
      return (uint64_t{1} << 62) | random.Below(1u << 20);
    default:
      return random.Next();
  }
}

// An honest image with some words overwritten: of the header, of the first tables.
void Mutate(const std::string& path, const std::string& honest, Random& random) {
  std::filesystem::copy_file(honest, path);
  const Patch file(path);
  const uint64_t words = 1 + random.Below(6);
  for (uint64_t i = 0; i < words; ++i) {
    // The magic and the version stay, or there would be nothing to look at.
    if (random.OneIn(2)) {
      file.PutWord<uint32_t>(8 + random.Below(26) * 4, static_cast<uint32_t>(Boundary(random)));
    } else {
      const uint64_t cluster = 1 + random.Below(std::max<uint64_t>(file.size() >> 16, 2));
      const uint64_t index = random.OneIn(4) ? random.Below(8192) : random.Below(8);
      file.PutWord<uint64_t>((cluster << 16) + index * 8, Boundary(random));
    }
  }
  if (random.OneIn(3)) file.PutWord<uint64_t>(72, kDirty);
  if (random.OneIn(8)) file.Resize(random.Below(file.size()));
}

}  // namespace

void WriteHostileImage(const std::string& path, const HostileHeader& header, uint64_t bytes) {
  const uint64_t cluster = uint64_t{1} << header.cluster_bits;
  const uint64_t l1_offset = header.l1_offset != 0 ? header.l1_offset : 2 * cluster;
  const Patch file(path);
  file.PutWord<uint32_t>(0, 0x514649fb);
  file.PutWord<uint32_t>(4, 3);
  file.PutWord<uint32_t>(20, header.cluster_bits);
  file.PutWord<uint64_t>(24, header.size);
  file.PutWord<uint32_t>(36, header.l1_entries);
  file.PutWord<uint64_t>(40, l1_offset);
  file.PutWord<uint64_t>(48, cluster);
  file.PutWord<uint32_t>(56, 1);
  file.PutWord<uint32_t>(60, header.snapshots);
  file.PutWord<uint64_t>(64, header.snapshots != 0 ? cluster : 0);
  file.PutWord<uint64_t>(72, header.incompatible);
  file.PutWord<uint32_t>(96, header.refcount_order);
  file.PutWord<uint32_t>(100, 104);
  if (!header.backing.empty()) {
    file.PutWord<uint32_t>(104, 0xe2792aca);
    file.PutWord<uint32_t>(108, 5);
    file.Put(112, std::as_bytes(std::span("qcow2", 5)));
    file.PutWord<uint64_t>(8, 136);
    file.PutWord<uint32_t>(16, static_cast<uint32_t>(header.backing.size()));
    file.Put(136, std::as_bytes(std::span(header.backing)));
  }
  if (bytes == 0) bytes = l1_offset + uint64_t{header.l1_entries} * 8;
  file.Resize(std::max(bytes, file.size()));
}

void WriteWords(const std::string& path, uint64_t offset, uint64_t first, uint64_t step,
                uint64_t count) {
  const Patch file(path);
  constexpr uint64_t kAtOnce = 65536;
  std::vector<std::byte> raw(std::min(count, kAtOnce) * 8);
  for (uint64_t done = 0; done < count; done += kAtOnce) {
    const uint64_t here = std::min(count - done, kAtOnce);
    for (uint64_t i = 0; i < here; ++i) {
      StoreBigEndian<uint64_t>(raw.data() + i * 8, first + (done + i) * step);
    }
    file.Put(offset + done * 8, std::span(raw).first(here * 8));
  }
}

std::string WriteAnyHostileImage(const std::string& directory, const std::string& name,
                                 Random& random) {
  const std::string path = directory + "/" + name;
  constexpr uint64_t kMost = 4u << 20;  // L1 entries
  // Mostly small, so that hundreds of them fit; what hurts is the same.
  const uint64_t entries = random.OneIn(8) ? kMost : kMost >> random.Below(12);
  switch (random.Below(8)) {
    case 0: {  // dirty, every L1 entry names one table
      const uint64_t cluster = 2u << 20;
      WriteHostileImage(path,
                        {.cluster_bits = 21,
                         .l1_entries = static_cast<uint32_t>(entries),
                         .incompatible = kDirty},
                        19 * cluster);
      WriteWords(path, 2 * cluster, kCopied | 18 * cluster, 0, entries);
      return "dirty, one table named by all";
    }
    case 1: {  // dirty, every L1 entry names another table, in holes
      const uint64_t cluster = 2u << 20;
      WriteHostileImage(path,
                        {.cluster_bits = 21,
                         .l1_entries = static_cast<uint32_t>(entries),
                         .incompatible = kDirty},
                        (32 + entries) * cluster);
      WriteWords(path, 2 * cluster, kCopied | 32 * cluster, cluster, entries);
      return "dirty, tables in holes";
    }
    case 2: {  // 2 EiB, all L1 entries name one table of alternating entries
      const uint64_t cluster = 2u << 20;
      WriteHostileImage(path,
                        {.cluster_bits = 21,
                         .size = entries << 39,
                         .l1_entries = static_cast<uint32_t>(entries),
                         .snapshots = static_cast<uint32_t>(random.Below(2))},
                        21 * cluster);
      WriteWords(path, 2 * cluster, kCopied | 18 * cluster, 0, entries);
      for (uint64_t i = 0; i < 64; ++i) WriteWords(path, 18 * cluster + i * 16, 1, 0, 1);
      return "huge, one table of zeros and nothing";
    }
    case 3:  // claims the largest L1 table, sparse
      WriteHostileImage(path, {.size = random.OneIn(2) ? 1u << 20 : kMost << 29,
                               .l1_entries = static_cast<uint32_t>(kMost)});
      return "sparse L1 table";
    case 4: {  // a filled L1 table
      const uint64_t full = std::min<uint64_t>(entries, 1u << 18);
      WriteHostileImage(path, {.size = full << 29, .l1_entries = static_cast<uint32_t>(full)},
                        (1000 + full) << 16);
      WriteWords(path, 2u << 16, kCopied | (1000u << 16), 1u << 16, full);
      return "full L1 table";
    }
    case 5:  // itself, or the honest one, beneath a giant
      WriteHostileImage(path, {.cluster_bits = 21,
                               .size = kMost << 39,
                               .l1_entries = static_cast<uint32_t>(kMost),
                               .backing = random.OneIn(2) ? name : "base.qcow2"});
      return "giant overlay";
    case 6: {  // tables that name each other, the L1 table, the header
      WriteHostileImage(path,
                        {.size = 64ull << 29, .l1_entries = 64, .incompatible = random.Below(2)},
                        64u << 16);
      for (uint64_t i = 0; i < 64; ++i) {
        WriteWords(path, (2u << 16) + i * 8, kCopied | (random.Below(8) << 16), 0, 1);
        WriteWords(path, (random.Below(8) << 16) + random.Below(8192) * 8,
                   kCopied | (random.Below(8) << 16), 0, 1);
      }
      WriteHostileImage(path, {.size = 64ull << 29, .l1_entries = 64}, 64u << 16);
      return "tables that name each other";
    }
    default:
      Mutate(path, directory + "/base.qcow2", random);
      return "words overwritten";
  }
}

}  // namespace chainfs
