// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/snapshot_command.h"

#include <fmt/format.h>

#include <utility>

#include "blocklayer/catalog/name_rules.h"
#include "ctl/control/empty_overlay.h"
#include "ctl/control/name_list.h"
#include "jobs/copy/cluster_keys.h"
#include "jobs/engine/chain_generation.h"

namespace chainfs::control {
namespace {

std::unexpected<Error> BadSnapshot(std::string message) {
  return Fail(ErrorKind::kInvalidArgument, std::move(message));
}

Result<std::optional<ImageCompression>> ParseCompressionType(const verbs::Arguments& arguments) {
  const std::optional<std::string> word = arguments.Text("compression_type");
  if (!word) return std::nullopt;
  for (const ImageCompression one : {ImageCompression::kZlib, ImageCompression::kZstd}) {
    if (*word == CompressionName(one)) return one;
  }
  return BadSnapshot("compression_type must be zlib or zstd");
}

}  // namespace

Result<SnapshotRequest> SnapshotCommand::RequestOf(const verbs::Arguments& arguments,
                                                   bool privileged) {
  SnapshotRequest request;
  request.target = arguments.Text("target").value_or("");
  request.anywhere = privileged;
  CHAINFS_ASSIGN(const jobs::ClusterKeys clusters, jobs::ClustersWanted(arguments));
  request.cluster_bits = clusters.bits;
  request.subclusters = clusters.subclusters;
  CHAINFS_ASSIGN(request.lazy_refcounts, arguments.Switch("lazy_refcounts", false));
  CHAINFS_ASSIGN(request.compression, ParseCompressionType(arguments));
  return request;
}

Result<std::vector<DiskPtr>> SnapshotCommand::DisksOf(const verbs::Arguments& arguments,
                                                      const DiskPtr& disk) const {
  const std::optional<std::string> names = arguments.Text("disks");
  if (disk != nullptr) {
    if (names) return BadSnapshot("disks= is only for commands on the mount point");
    return std::vector<DiskPtr>{disk};
  }
  if (!names) return BadSnapshot("a command on the mount point must name its disks with disks=");
  std::vector<DiskPtr> disks;
  for (const std::string& name : SplitList(*names)) {
    disks.push_back(catalog_.Find(name));
    if (disks.back() != nullptr) continue;
    return Fail(ErrorKind::kNotFound, EscapeText(fmt::format("there is no disk {}", name)));
  }
  return disks;
}

Status SnapshotCommand::RunOnOne(const verbs::Arguments& arguments, const DiskPtr& disk,
                                 const SnapshotRequest& request, bool dry_run) {
  const std::string id = arguments.Text("id").value_or("");
  CHAINFS_ASSIGN(const std::optional<uint64_t> generation, arguments.Number("generation"));
  if (generation && arguments.Has("disks")) {
    return BadSnapshot("generation= is only for commands on a disk");
  }
  CHAINFS_ASSIGN(jobs::Reservation reservation, jobs_.ReserveDisk(*disk, "snapshot", id, false));
  CHAINFS_TRY(jobs::CheckGeneration(*disk, generation));
  CHAINFS_ASSIGN(const bool existing, arguments.Switch("existing", false));
  if (existing) {
    CHAINFS_TRY(RunInPlace(disk, request, dry_run));
  } else if (dry_run) {
    CHAINFS_TRY(catalog_.PlanSnapshot(disk, request));
  } else {
    CHAINFS_TRY(catalog_.Snapshot(disk, request));
  }
  if (!id.empty()) jobs_.ShowConcluded(std::move(reservation));
  return {};
}

Status SnapshotCommand::RunInPlace(const DiskPtr& disk, const SnapshotRequest& request,
                                   bool dry_run) {
  CHAINFS_ASSIGN(EmptyOverlay overlay, EmptyOverlay::Open(catalog_, disk, request));
  // What can be told to fail does so before anything is removed.
  CHAINFS_TRY(overlay.CheckPossible());
  if (dry_run) return {};
  CHAINFS_ASSIGN(const SnapshotRequest in_place, overlay.MakeRoom());
  CHAINFS_TRY(catalog_.Snapshot(disk, in_place));
  return {};
}

Status SnapshotCommand::RunOnSeveral(const verbs::Arguments& arguments,
                                     const std::vector<DiskPtr>& disks,
                                     const SnapshotRequest& request, bool dry_run) {
  for (const char* const key : {"target", "existing", "id", "generation"}) {
    if (!arguments.Has(key)) continue;
    return BadSnapshot(fmt::format("{}= is for a snapshot of one disk", key));
  }
  std::vector<jobs::Reservation> reservations;
  GroupRequest together;
  for (const DiskPtr& disk : disks) {
    CHAINFS_ASSIGN(jobs::Reservation reservation, jobs_.ReserveDisk(*disk, "snapshot", "", false));
    reservations.push_back(std::move(reservation));
    together.members.push_back({.disk = disk, .request = request});
  }
  if (dry_run) {
    CHAINFS_TRY(catalog_.moves().PlanTogether(together));
  } else {
    CHAINFS_TRY(catalog_.moves().SnapshotTogether(together));
  }
  return {};
}

Status SnapshotCommand::Run(const verbs::Arguments& arguments, const DiskPtr& disk,
                            bool privileged) {
  CHAINFS_ASSIGN(const std::vector<DiskPtr> disks, DisksOf(arguments, disk));
  CHAINFS_ASSIGN(const SnapshotRequest request, RequestOf(arguments, privileged));
  CHAINFS_ASSIGN(const bool dry_run, arguments.Switch("dry-run", false));
  if (catalog_.options().read_only && !dry_run) {
    return Fail(ErrorKind::kReadOnly, "the mount is read-only");
  }
  return disks.size() == 1 ? RunOnOne(arguments, disks.front(), request, dry_run)
                           : RunOnSeveral(arguments, disks, request, dry_run);
}

}  // namespace chainfs::control
