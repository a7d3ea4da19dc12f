// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/empty_overlay.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bit>
#include <utility>
#include <vector>

#include "blocklayer/catalog/name_rules.h"
#include "blocklayer/image/holds_nothing.h"

namespace chainfs::control {
namespace {

// In the mark that hides it meanwhile; no job has such an id.
constexpr std::string_view kMarkedFor = "a snapshot";

Status CheckEmpty(const Disk& disk, const Layers& layers) {
  const Layer& image = *layers.front();
  const auto refuse = [&](const std::string& why) {
    return Fail(ErrorKind::kInvalidArgument,
                EscapeText(fmt::format("{}: cannot be the new active layer of {}: {}", image.path,
                                       disk.name(), why)));
  };
  if (image.image->virtual_size() != disk.size()) {
    return refuse(fmt::format("it has {} bytes, but the disk has {}", image.image->virtual_size(),
                              disk.size()));
  }
  if (layers.size() > 1 && layers[1] != disk.chain()->active) {
    return refuse(fmt::format("it is built on {}, which is not the active layer", layers[1]->path));
  }
  CHAINFS_ASSIGN(const bool empty, HoldsNothing(*image.image));
  return empty ? Status() : refuse("it holds data");
}

}  // namespace

Result<EmptyOverlay> EmptyOverlay::Open(Catalog& catalog, const DiskPtr& disk,
                                        const SnapshotRequest& request) {
  if (request.target.empty()) {
    return Fail(ErrorKind::kInvalidArgument, "existing= needs target=: the image that is there");
  }
  CHAINFS_ASSIGN(TargetImagePtr image,
                 catalog.moves().OpenTarget(disk, {.path = request.target,
                                                   .format = ImageFormat::kQcow2,
                                                   .job = std::string(kMarkedFor),
                                                   .anywhere = request.anywhere,
                                                   .create = {}}));
  EmptyOverlay overlay(catalog, disk, request, std::move(image));
  const Layers& layers = overlay.image_->layers();
  CHAINFS_TRY(CheckEmpty(*disk, layers));
  overlay.request_.target = layers.front()->path;
  const Image& image_there = *layers.front()->image;
  overlay.request_.cluster_bits =
      static_cast<uint32_t>(std::countr_zero(uint64_t{image_there.cluster_size()}));
  overlay.request_.subclusters = image_there.has_subclusters();
  return overlay;
}

EmptyOverlay::~EmptyOverlay() {
  if (image_ != nullptr) (void)image_->Finish();
}

Status EmptyOverlay::CheckPossible() {
  const bool built_on = image_->layers().size() > 1;
  if (!built_on || !disk_->read_only()) {
    CHAINFS_TRY(catalog_->PlanSnapshot(disk_, {.target = {}, .anywhere = request_.anywhere}));
    return {};
  }
  const LayerPtr active = disk_->chain()->active;
  CHAINFS_ASSIGN(const std::vector<std::string> users,
                 catalog_->moves().UsersOf(disk_, *active, *active, std::string(kMarkedFor)));
  if (users.empty()) return {};
  return Fail(ErrorKind::kBusy, EscapeText(fmt::format("{}: cannot be frozen: {}", active->path,
                                                       fmt::join(users, ", "))));
}

Result<SnapshotRequest> EmptyOverlay::MakeRoom() {
  CHAINFS_TRY(image_->Remove());
  image_ = nullptr;
  // Nothing of it keeps the disk from being written any more.
  CHAINFS_TRY(catalog_->Rescan());
  return request_;
}

}  // namespace chainfs::control
