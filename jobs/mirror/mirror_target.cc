// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/mirror_target.h"

#include <fmt/format.h>

#include <utility>

#include "blocklayer/base/types.h"
#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/image/holds_nothing.h"
#include "jobs/copy/compress_key.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kSizeUnit = 512;

TargetRequest RequestOf(const MirrorPlan& plan, const std::string& job) {
  return {.path = plan.target, .format = plan.format, .job = job, .anywhere = plan.anywhere};
}

// Whether what it shows can become what the disk shows, and stay it.
Status CheckFits(const MirrorPlan& plan, const Layers& target) {
  const Layer& image = *target.front();
  const auto refuse = [&](const std::string& why) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: {}; choose another target", image.path, why)));
  };
  if (image.image->writer() == nullptr || !image.image->writable()) {
    return Fail(ErrorKind::kReadOnly, EscapeText(fmt::format("{}: cannot be written: {}",
                                                             image.path, image.ReadOnlyReason())));
  }
  const uint64_t size = image.image->virtual_size();
  if (size != RoundUp(plan.disk->size(), kSizeUnit)) {
    return refuse(
        fmt::format("has {} bytes, but {} has {}", size, plan.disk->name(), plan.disk->size()));
  }
  CHAINFS_TRY(CheckCompression(image, plan.compression));
  // What is left out of the copy must show from below.
  if (plan.sync != MirrorSync::kTop || plan.taken_up) return {};
  const LayerPtr below = target.size() > 1 ? target[1] : nullptr;
  if (below == plan.backing) return {};
  return refuse(fmt::format("with sync=top it must be built on {}",
                            plan.backing == nullptr ? "nothing" : plan.backing->path));
}

// What an earlier daemon was about to make, and may have made: by its inode, where that was noted;
// else by that there is nothing in it.
Result<TargetImagePtr> FindMade(Catalog& catalog, const MirrorPlan& plan, const std::string& job) {
  CHAINFS_ASSIGN(TargetImagePtr target, OpenTarget(catalog, plan, job, *plan.found));
  if (plan.found->inode != 0) return target;
  CHAINFS_ASSIGN(const bool empty, HoldsNothing(*target->image()->image));
  if (empty) return target;
  (void)target->Finish();
  return Fail(
      ErrorKind::kExists,
      EscapeText(fmt::format("{}: exists, and is not what the job {} has made; remove it, or "
                             "dismiss the job",
                             plan.target, job)));
}

}  // namespace

Result<TargetImagePtr> MakeTarget(Catalog& catalog, const MirrorPlan& plan,
                                  const std::string& job) {
  if (plan.found) {
    Result<TargetImagePtr> there = FindMade(catalog, plan, job);
    if (there || there.error().kind != ErrorKind::kNotFound) return there;
  }
  TargetRequest request = RequestOf(plan, job);
  request.create = TargetRequest::Create{.virtual_size = RoundUp(plan.disk->size(), kSizeUnit),
                                         .cluster_bits = plan.clusters.bits,
                                         .lazy_refcounts = plan.lazy_refcounts,
                                         .compression = plan.compression,
                                         .subclusters = plan.clusters.subclusters,
                                         .backing = plan.backing};
  CHAINFS_ASSIGN(TargetImagePtr target, catalog.moves().OpenTarget(plan.disk, request));
  Status fits = CheckFits(plan, target->layers());
  if (fits) return target;
  (void)target->Remove();
  return std::unexpected(std::move(fits).error());
}

Result<TargetImagePtr> OpenTarget(Catalog& catalog, const MirrorPlan& plan, const std::string& job,
                                  const IntentHeader& wanted) {
  CHAINFS_ASSIGN(TargetImagePtr target,
                 catalog.moves().OpenTarget(plan.disk, RequestOf(plan, job)));
  const Layer& image = *target->image();
  Status fits = CheckFits(plan, target->layers());
  IntentHeader found;
  NoteTarget(*target, found);
  if (wanted.inode != 0 && !wanted.target().Means(found.target())) {
    fits =
        Fail(ErrorKind::kStale,
             EscapeText(fmt::format("{}: is not the file that the job {} has copied to; put that "
                                    "back, or dismiss the job",
                                    image.path, job)));
  }
  if (fits) return target;
  // What is none of the job's is nobody's target, either; it was not written.
  const bool foreign = !plan.taken_up || fits.error().kind == ErrorKind::kStale;
  if (foreign) (void)target->Finish();
  return std::unexpected(std::move(fits).error());
}

void NoteTarget(const TargetImage& target, IntentHeader& header) {
  const Layer& image = *target.image();
  const RecordedFile file = RecordedFileOf(image.id, image.image->file());
  header.inode = file.inode;
  header.born = file.born;
}

}  // namespace chainfs::jobs
