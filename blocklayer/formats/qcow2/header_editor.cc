// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_editor.h"

#include <array>

#include "blocklayer/formats/qcow2/header_update.h"

namespace chainfs::qcow2 {

HeaderEditor::HeaderEditor(File& file, Qcow2Header header)
    : file_(file), virtual_size_(header.virtual_size()), header_(std::move(header)) {}

Qcow2Header HeaderEditor::header() const {
  MutexLock lock(mu_);
  return header_;
}

std::optional<BackingReference> HeaderEditor::backing() const {
  MutexLock lock(mu_);
  return header_.backing;
}

Status HeaderEditor::ChangeSector(const std::function<void(HeaderSector)>& change) {
  MutexLock lock(mu_);
  // Until the write is tried, the disk is as it was.
  std::array<std::byte, kHeaderSector> sector;
  CHAINFS_TRY(file_.ReadZeroFilled(HostOffset(0), sector));
  if (file_.poisoned()) return file_.DataSync();  // fails, and says why
  change(sector);
  try {
    Status status = file_.WriteAt(HostOffset(0), sector);
    if (status) status = file_.DataSync();
    if (!status) uncertain_.store(true, std::memory_order_release);
    return status;
  } catch (...) {
    // There was no memory to say what failed; but something did.
    uncertain_.store(true, std::memory_order_release);
    throw;
  }
}

Status HeaderEditor::SetVirtualSize(uint64_t size) {
  CHAINFS_TRY(ChangeSector([&](HeaderSector sector) { PutVirtualSize(sector, size); }));
  virtual_size_.store(size, std::memory_order_release);
  return {};
}

Status HeaderEditor::CanSetBacking(const std::optional<BackingReference>& backing) {
  MutexLock lock(mu_);
  return qcow2::CanSetBacking(file_, header_, backing);
}

Status HeaderEditor::SetBacking(const std::optional<BackingReference>& backing) {
  MutexLock lock(mu_);
  return SetBackingInHeader(file_, header_, backing);
}

Status HeaderEditor::SetBitmaps(const std::optional<BitmapPlace>& place) {
  MutexLock lock(mu_);
  bool tried = false;
  try {
    Status status = SetBitmapsInHeader(file_, header_, place, tried);
    if (!status && tried) uncertain_.store(true, std::memory_order_release);
    return status;
  } catch (...) {
    if (tried) uncertain_.store(true, std::memory_order_release);
    throw;
  }
}

Status HeaderEditor::ClearAutoclearFeatures() {
  MutexLock lock(mu_);
  // What we maintain stays.
  const uint64_t kept = (header_.has_bitmaps ? kAutoclearBitmaps : 0) |
                        (header_.has_raw_data_file() ? kAutoclearRawDataFile : 0);
  if ((header_.autoclear & ~kept) == 0) return {};
  CHAINFS_TRY(WriteFeatureBits(file_, header_, header_.incompatible, kept));
  return file_.DataSync();
}

void HeaderEditor::SetCorruptBit() {
  MutexLock lock(mu_);
  if (header_.version < 3) return;
  // The image is refused for writing from now on whether or not this reaches the disk.
  if (WriteFeatureBits(file_, header_, header_.incompatible | kIncompatibleCorrupt,
                       header_.autoclear)) {
    if (!file_.DataSync()) return;
  }
}

}  // namespace chainfs::qcow2
