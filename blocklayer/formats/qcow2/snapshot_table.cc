// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/snapshot_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>
#include <vector>

#include "blocklayer/base/endian.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kSnapshotEntryBytes = 40;
constexpr uint64_t kSnapshotAlignment = 8;
constexpr uint64_t kSnapshotReadBytes = 64 << 10;

// What the L1 tables of all snapshots may have together: a lot for an honest image, each of whose
// tables occupies its file, also where the host file system compresses.
Result<uint64_t> L1Budget(File& file) {
  constexpr uint64_t kLeast = 256ull << 20;
  constexpr uint64_t kFactor = 16;
  CHAINFS_ASSIGN(const FileStat stat, file.Stat());
  return kLeast + kFactor * std::min(stat.allocated_bytes, (UINT64_MAX >> 1) / kFactor);
}

std::string SnapshotText(std::span<const std::byte> bytes) {
  std::string text(bytes.size(), '\0');
  std::ranges::transform(bytes, text.begin(), [](std::byte b) { return static_cast<char>(b); });
  return text;
}

class SnapshotTableReader {
 public:
  SnapshotTableReader(File& file, const Qcow2Header& header, uint64_t file_size, uint64_t budget)
      : file_(file), header_(header), file_size_(file_size), budget_(budget) {}

  Result<SnapshotEntry> Next(uint32_t index) {
    // The last entry need not be padded.
    CHAINFS_TRY(Take(index, RoundUp(read_, kSnapshotAlignment) - read_));
    CHAINFS_ASSIGN(const std::span<const std::byte> fixed, Take(index, kSnapshotEntryBytes));
    SnapshotEntry entry;
    entry.index = index;
    entry.l1_offset = HostOffset(LoadBigEndian<uint64_t>(fixed.data()));
    entry.l1_entries = LoadBigEndian<uint32_t>(fixed.data() + 8);
    const uint64_t id_bytes = LoadBigEndian<uint16_t>(fixed.data() + 12);
    const uint64_t name_bytes = LoadBigEndian<uint16_t>(fixed.data() + 14);
    entry.made = LoadBigEndian<uint32_t>(fixed.data() + 16);
    entry.vm_state_bytes = LoadBigEndian<uint32_t>(fixed.data() + 32);
    const uint64_t extra_bytes = LoadBigEndian<uint32_t>(fixed.data() + 36);
    if (extra_bytes > kMaxSnapshotExtraBytes) {
      return Broken(index, fmt::format("has {} bytes of extra data, more than {}", extra_bytes,
                                       kMaxSnapshotExtraBytes));
    }
    CHAINFS_ASSIGN(const std::span<const std::byte> extra, Take(index, extra_bytes));
    if (extra.size() >= 8) entry.vm_state_bytes = LoadBigEndian<uint64_t>(extra.data());
    if (extra.size() >= 16) entry.size = LoadBigEndian<uint64_t>(extra.data() + 8);
    CHAINFS_ASSIGN(const std::span<const std::byte> id, Take(index, id_bytes));
    entry.id = SnapshotText(id);
    CHAINFS_ASSIGN(const std::span<const std::byte> name, Take(index, name_bytes));
    entry.name = SnapshotText(name);
    CHAINFS_TRY(CheckL1(entry));
    return entry;
  }
  uint64_t bytes_read() const { return read_; }

 private:
  std::unexpected<Error> Broken(uint32_t index, std::string_view what) const {
    return Fail(ErrorKind::kCorrupt,
                fmt::format("{}: the table of internal snapshots is broken: entry {} {}; look at "
                            "it with qemu-img check",
                            file_.path(), index, what));
  }

  // The next bytes of the table; valid until the next call.
  Result<std::span<const std::byte>> Take(uint32_t index, uint64_t bytes) {
    const HostOffset at = header_.snapshots_offset + read_;
    if (bytes > kMaxSnapshotTableBytes - read_ || at.value > file_size_ ||
        bytes > file_size_ - at.value) {
      return Broken(index, "passes the end of the file, or the 64 MiB that the table may have");
    }
    if (read_ + bytes > buffer_begin_ + buffer_.size()) {
      buffer_.resize(std::max(bytes, kSnapshotReadBytes));
      CHAINFS_TRY(file_.ReadZeroFilled(at, buffer_));
      buffer_begin_ = read_;
    }
    const std::span<const std::byte> taken = std::span(buffer_).subspan(read_ - buffer_begin_);
    read_ += bytes;
    return taken.first(bytes);
  }

  Status CheckL1(const SnapshotEntry& entry) {
    const uint64_t bytes = entry.l1_bytes();
    if (bytes > kMaxHeaderL1Bytes) {
      return Broken(entry.index, fmt::format("has an L1 table of {} entries; it may have at most "
                                             "32 MiB",
                                             entry.l1_entries));
    }
    const uint64_t host = entry.l1_offset.value;
    const bool lies_well = host % header_.cluster_size() == 0 && host >= header_.cluster_size() &&
                           host <= file_size_ && bytes <= file_size_ - host;
    if (bytes > 0 && !lies_well) {
      return Broken(entry.index, fmt::format("has an impossible L1 table, at {:#x}", host));
    }
    if (bytes > budget_) return Broken(entry.index, "names more tables than the file can hold");
    budget_ -= bytes;
    return {};
  }

  File& file_;
  const Qcow2Header& header_;
  const uint64_t file_size_;
  uint64_t budget_;  // bytes of L1 tables
  uint64_t read_ = 0;
  std::vector<std::byte> buffer_;
  uint64_t buffer_begin_ = 0;
};

}  // namespace

Result<uint64_t> ForEachSnapshot(File& file, const Qcow2Header& header,
                                 const std::function<Status(const SnapshotEntry&)>& visit) {
  if (header.snapshot_count == 0) return uint64_t{0};
  CHAINFS_ASSIGN(const uint64_t file_size, file.Size());
  CHAINFS_ASSIGN(const uint64_t budget, L1Budget(file));
  SnapshotTableReader reader(file, header, file_size, budget);
  for (uint32_t index = 0; index < header.snapshot_count; ++index) {
    CHAINFS_ASSIGN(const SnapshotEntry entry, reader.Next(index));
    CHAINFS_TRY(visit(entry));
  }
  return reader.bytes_read();
}

}  // namespace chainfs::qcow2
