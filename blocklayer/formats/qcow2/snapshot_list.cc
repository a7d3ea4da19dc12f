// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/snapshot_list.h"

#include <fmt/format.h>

#include <utility>

namespace chainfs::qcow2 {
namespace {

std::string KeptText(const std::string& text) {
  return text.size() <= SnapshotList::kMaxTextBytes ? text : std::string();
}

}  // namespace

Result<SnapshotList> SnapshotList::Read(File& file, const Qcow2Header& header) {
  SnapshotList list;
  const auto keep = [&](const SnapshotEntry& entry) -> Status {
    ++list.shown_.count;
    if (!entry.size) list.shown_.all_state_their_size = false;
    if (list.shown_.kept.size() == kMaxKept) return {};
    list.shown_.kept.push_back({.id = KeptText(entry.id),
                                .name = KeptText(entry.name),
                                .made = entry.made,
                                .size = RoundDown(entry.size.value_or(header.size), 512)});
    list.places_.push_back({.offset = entry.l1_offset, .entries = entry.l1_entries});
    return {};
  };
  CHAINFS_TRY(ForEachSnapshot(file, header, keep));
  return list;
}

Status SnapshotList::CheckResizable(const std::string& path) const {
  if (shown_.all_state_their_size) return {};
  return Fail(ErrorKind::kUnsupported,
              fmt::format("{}: cannot be resized: {} do not all say how large the disk was; mend "
                          "that with qemu-img check -r all, or delete them with qemu-img "
                          "snapshot -d",
                          path, shown_.Describe()));
}

Result<Qcow2Header> SnapshotList::HeaderOf(const std::string& path, const Qcow2Header& header,
                                           size_t index) const {
  const ImageSnapshot& snapshot = shown_.kept[index];
  Qcow2Header as_disk = header;
  as_disk.size = snapshot.size;
  as_disk.l1_offset = places_[index].offset;
  as_disk.l1_entries = places_[index].entries;
  if (as_disk.l1_entries < as_disk.l1_entries_needed()) {
    return Fail(
        ErrorKind::kCorrupt,
        fmt::format("{}: the L1 table of its internal snapshot {} has {} entries, but its "
                    "size {} needs {}",
                    path, index, as_disk.l1_entries, snapshot.size, as_disk.l1_entries_needed()));
  }
  return as_disk;
}

}  // namespace chainfs::qcow2
