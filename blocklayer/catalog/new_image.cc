// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/new_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace chainfs {

Result<NewImagePlan> NewImages::Plan(const DiskPtr& disk, const NewImageRequest& request) {
  const Turn turn(mu_);
  const CatalogEntry* const entry = chains_.EntryOf(disk.get());
  if (entry == nullptr) {
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: the disk is gone; it was renamed or removed", disk->name()));
  }
  NewImagePlan plan;
  CHAINFS_ASSIGN(plan.location,
                 target_.Named(*entry, request.name, request.format, request.anywhere));
  if (!request.may_exist) CHAINFS_TRY(target_.CheckUnused(plan.location));
  if (request.backing == nullptr) return plan;
  const Layer& backing = *request.backing;
  const Layers layers = disk->chain()->AllLayers();
  CHAINFS_TRY(
      marks_.CheckWhole(Layers(std::ranges::find(layers, request.backing), layers.end()),
                        fmt::format("{}: cannot be built on {}", plan.location.path, backing.path),
                        "or copy everything, with sync=full"));
  const FileLocation there{
      .directory = backing.directory, .name = backing.name, .path = backing.path};
  CHAINFS_ASSIGN(plan.backing,
                 names_.For(plan.location, there, backing.id, backing.image->format()));
  return plan;
}

}  // namespace chainfs
