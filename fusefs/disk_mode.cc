// SPDX-License-Identifier: Apache-2.0
#include "fusefs/disk_mode.h"

#include <set>

namespace chainfs::fusefs {

mode_t BitsFor(const ShownOwner& shown, const FileStat& file) {
  const bool is_daemon = shown.uid == shown.daemon_uid && !shown.uid_given;
  const mode_t owner = is_daemon && file.owner != shown.daemon_uid ? 0700 : file.permissions & 0700;
  if (shown.gid_given || shown.gid == file.group) return owner | (file.permissions & 0077);
  const mode_t both = file.permissions & file.permissions >> 3 & 07;
  return owner | both << 3 | both;
}

mode_t BitsBeyond(const ShownOwner& shown, const std::vector<FileStat>& way) {
  if (!shown.allow_other) return 0077;
  mode_t bits = 0077;
  for (const FileStat& directory : way) {
    const mode_t passing = BitsFor(shown, directory) & 0011;
    if ((passing & 0010) == 0 && !shown.gid_given) bits &= 0007;
    if ((passing & 0001) == 0) bits &= 0070;
  }
  return bits;
}

mode_t PermittedBits(const ShownOwner& shown, const Disk& disk) {
  mode_t bits = 0666;
  std::set<const Directory*> seen;
  bool active = true;
  for (const LayerPtr& layer : disk.chain()->AllLayers()) {
    mode_t permitted = 0777;
    for (File* const file : layer->image->HostFiles()) {
      const Result<FileStat> stat = file->StatAccess();
      permitted &= stat ? BitsFor(shown, *stat) : mode_t{0};
    }
    if (seen.insert(layer->directory.get()).second) {
      permitted &= 0700 | BitsBeyond(shown, layer->directory->StatWay());
    }
    if (const Directory* const data = layer->data_directory.get();
        data != nullptr && seen.insert(data).second) {
      permitted &= 0700 | BitsBeyond(shown, layer->data_directory->StatWay());
    }
    bits &= permitted | (active ? 0 : 0222);
    active = false;
  }
  return bits;
}

}  // namespace chainfs::fusefs
