// SPDX-License-Identifier: Apache-2.0
#include "jobs/backup/merge_back.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kStep = 1 << 20;

Error PointIsOpen(const Disk& view) {
  return {.kind = ErrorKind::kBusy,
          .sys_errno = 0,
          .message = EscapeText(
              fmt::format("{} is open; the job goes on when it has been closed", view.name()))};
}

}  // namespace

std::optional<Error> MergeBack::Watched(Disk& view) {
  if (view.access().readers() == 0) return std::nullopt;
  return PointIsOpen(view);
}

DiskPtr MergeBack::ViewOf(Catalog& catalog, const FrozenPoint& point) {
  for (const DiskPtr& disk : catalog.Disks()) {
    if (disk->chain()->active == point.frozen) return disk;
  }
  return nullptr;
}

Status MergeBack::CloseToReaders() {
  const DiskPtr view = ViewOf(catalog_, point_);
  if (view == nullptr || view->access().CloseToReaders()) return {};
  return std::unexpected(PointIsOpen(*view));
}

Status MergeBack::CheckNobodyElse() {
  CHAINFS_ASSIGN(const std::vector<std::string> users,
                 catalog_.moves().UsersOf(disk_, *point_.frozen, *point_.overlay, id_));
  if (users.empty()) return {};
  return Fail(ErrorKind::kBusy,
              EscapeText(fmt::format("{} cannot take in again what was written since: {}; the job "
                                     "goes on when that is gone",
                                     point_.frozen->path, fmt::join(users, "; "))));
}

Status MergeBack::Begin() {
  merge_.reset();
  CHAINFS_ASSIGN(const bool begun, catalog_.moves().Changing(*point_.frozen));
  CHAINFS_TRY(CloseToReaders());
  const Result<ChainMoves::TakeBack> take_back =
      catalog_.moves().MarkChanging(*disk_, {point_.frozen}, *point_.overlay, id_);
  // Nobody new comes from here on.
  Status marked = take_back ? CheckNobodyElse() : std::unexpected(take_back.error());
  if (marked) {
    Result<std::unique_ptr<MergeDown>> made = MergeDown::Make(catalog_, disk_, point_.frozen);
    if (made) marked = (*made)->Prepare();
    if (!made) marked = std::unexpected(made.error());
    if (marked) merge_ = *std::move(made);
  }
  if (marked) return merge_->Begin();
  if (!begun) {
    // Nothing was written: it is the point still.
    const Status cleared = take_back ? (*take_back)() : Status();
    if (!cleared) spdlog::warn("{}: {}", point_.frozen->path, cleared.error().message);
    if (const DiskPtr view = ViewOf(catalog_, point_)) view->access().OpenToReaders();
  }
  return marked;
}

Result<LeftOutLayers> MergeBack::Finish() {
  Result<LeftOutLayers> left_out = merge_->Finish(id_, true, anywhere_);
  if (!left_out) {
    // What the point shows has changed already.
    (void)CloseToReaders();
    return left_out;
  }
  merge_.reset();
  const Status cleared = catalog_.moves().UnmarkChanging({point_.frozen});
  if (!cleared) return std::unexpected(cleared.error());
  return left_out;
}

Status MergeBack::Run(const std::function<bool()>& stop) {
  // What was given up before must be copied, too.
  merge_.reset();
  CHAINFS_TRY(Begin());
  WorkSource& source = merge_->source();
  while (const std::optional<ChunkRange> chunk = source.Take(std::max(kStep, merge_->unit()))) {
    if (stop()) return Fail(ErrorKind::kShutdown, "the mount is shutting down");
    const ChunkResult done = merge_->Process(chunk->offset, chunk->length);
    source.Finished(*chunk);
    if (!done) return std::unexpected(done.error().error);
  }
  CHAINFS_TRY(merge_->Settle());
  CHAINFS_ASSIGN(const LeftOutLayers left_out, Finish());
  if (!left_out.problem.empty()) {
    spdlog::warn("disk {}: the temporary overlay was not removed: {}", disk_->name(),
                 left_out.problem);
  }
  return {};
}

}  // namespace chainfs::jobs
