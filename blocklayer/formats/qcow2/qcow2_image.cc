// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/qcow2_image.h"

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/opened_image.h"
#include "blocklayer/formats/qcow2/repair.h"

#include <fmt/format.h>

namespace chainfs {
namespace {

// Null where there is none.
Result<std::unique_ptr<File>> OpenDataFile(const File& image, const qcow2::Qcow2Header& header,
                                           const ImageOpenOptions& options) {
  if (!header.data_file) return nullptr;
  if (options.open_data_file != nullptr) return options.open_data_file(*header.data_file);
  return Fail(
      ErrorKind::kUnsupported,
      fmt::format("{}: keeps its data in an external data file, which is not supported here",
                  image.path()));
}

}  // namespace

Result<std::unique_ptr<WritableImage>> OpenQcow2Image(std::unique_ptr<File> file,
                                                      MetadataCache& cache,
                                                      const ImageOpenOptions& options) {
  CHAINFS_ASSIGN(qcow2::Qcow2Header header, qcow2::ReadQcow2Header(*file));
  const bool may_write = !options.read_only && file->writable();
  const bool dirty = (header.incompatible & qcow2::kIncompatibleDirty) != 0;
  if (dirty && may_write && !header.read_only_reason && options.unrepaired) {
    header.read_only_reason = options.unrepaired;
  } else if (dirty && may_write && !header.read_only_reason) {
    CHAINFS_TRY(qcow2::RebuildRefcounts(*file));
    CHAINFS_ASSIGN(header, qcow2::ReadQcow2Header(*file));
  }
  Result<qcow2::SnapshotList> snapshots = qcow2::SnapshotList::Read(*file, header);
  if (!snapshots && snapshots.error().kind == ErrorKind::kCorrupt) {
    // The disk itself can be read; nobody can tell which clusters the snapshots need.
    if (!header.read_only_reason) header.read_only_reason = snapshots.error().message;
    snapshots = qcow2::SnapshotList();
  }
  CHAINFS_ASSIGN(qcow2::SnapshotList known, std::move(snapshots));
  CHAINFS_ASSIGN(std::unique_ptr<File> data, OpenDataFile(*file, header, options));
  auto image = std::make_unique<qcow2::OpenedImage>(
      qcow2::ImageFiles(std::move(file), std::move(data), options.locks), cache, options, header,
      std::move(known));
  CHAINFS_TRY(image->Load());
  return image;
}

Status RepairQcow2(File& file, const ImageRepairControl& control) {
  return qcow2::RebuildRefcounts(file, control);
}

}  // namespace chainfs
