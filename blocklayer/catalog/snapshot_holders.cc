// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshot_holders.h"

#include <fmt/format.h>

#include <algorithm>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {

Status CheckHoldNoSnapshots(std::span<const LayerPtr> layers, std::string_view deed) {
  const auto holder = std::ranges::find_if(
      layers, [](const LayerPtr& layer) { return !layer->image->snapshots().empty(); });
  if (holder == layers.end()) return {};
  return Fail(ErrorKind::kUnsupported,
              EscapeText(fmt::format(
                  "{}: {} would damage {}; save what you need of that, delete it with qemu-img "
                  "snapshot -d while the image is not mounted, and try again",
                  (*holder)->path, deed, (*holder)->image->snapshots().Describe())));
}

Status CheckIsNoSnapshot(const Disk& disk) {
  const LayerPtr active = disk.chain()->active;
  if (active->snapshot_of == nullptr) return {};
  return Fail(
      ErrorKind::kReadOnly,
      EscapeText(fmt::format("{} is an internal snapshot in {}, which is only read; copy it "
                             "to have a disk of its own",
                             disk.name(), active->path)));
}

}  // namespace chainfs
