// SPDX-License-Identifier: Apache-2.0
//
// What the catalog is given and what it tells: sources, options, requests and reports. Values only.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "blocklayer/chain/block_context.h"
#include "blocklayer/image/image.h"
#include "blocklayer/io/directory.h"

namespace chainfs {

class Disk;

struct SourceSpec {
  std::string path;                        // a directory, or an image
  std::optional<std::string> name = {};    // image only: the chain's name
  std::optional<ImageFormat> format = {};  // image only
};

struct CatalogOptions {
  bool read_only = false;                      // nothing is ever written, to any file
  std::vector<std::string> backing_dirs = {};  // further permitted directories
  // Where files of requests that may lie outside the sources are put; unless `targets_anywhere`.
  std::vector<std::string> target_dirs = {};
  bool targets_anywhere = true;
  std::vector<std::string> data_dirs = {};  // where external data files may lie; nowhere else
  std::optional<ImageFormat> assume_backing_format = {};  // for headers that name none
  uint32_t max_depth = 1024;                              // layers
  MemoryLimits memory = {};
  // Where this host keeps the names that were shown (shown_names.h); empty: nowhere.
  std::string state_directory = {};
  // How directories are opened; null: OpenPosixDirectory. A seam for tests.
  std::function<Result<std::unique_ptr<Directory>>(const std::string& path)> open_directory = {};
};

struct BrokenImage {
  std::string name;  // as its chain would be called
  std::string path;
  Error error;
  // The file that is being checked after an unclean end: the disk appears by itself.
  std::optional<FileId> being_checked = {};
  // Set where the error is kBusy and not that: who holds locks on its files, as far as they tell.
  std::optional<ImageHolder> held_by = {};
  bool named_by_user = false;  // a source of its own, not an image of a directory
  bool tried_again = false;    // from time to time, because the reason may pass
};

// Something that people should know of a disk that works.
struct ImageNote {
  std::string name;      // the disk's; empty: of all of them
  std::string text;      // one sentence: why it is read-only, that it begins like qcow2...
  bool warning = false;  // somebody should do something about it
  bool lost = false;     // a layer of the disk is not where it was opened any more
};

// How to make a new active layer.
// Of the overlays that snapshots make.
inline constexpr ImageFormat kOverlayFormat = ImageFormat::kQcow2;

struct ResizeRequest {
  uint64_t size = 0;      // bytes, a multiple of 512
  bool cut_data = false;  // what a smaller size cuts off may be lost
  bool dry_run = false;   // only whether it could be done
};

struct SnapshotRequest {
  // Absolute, or relative to the active layer's directory; empty: NAME.N.qcow2 beside the active
  // layer, N the first free number.
  std::string target = {};
  bool anywhere = false;  // the caller may name targets outside the sources (root)
  uint32_t cluster_bits = 16;
  bool lazy_refcounts = false;
  std::optional<ImageCompression> compression = {};  // as in ImageCreateOptions
  std::optional<bool> subclusters = {};              // nothing: as the layer that is frozen
};

// One of several disks whose snapshots are taken together.
struct GroupMember {
  std::shared_ptr<Disk> disk;
  SnapshotRequest request = {};
  std::string held_for = {};  // the job that holds what is frozen, as of ChainMoves::FreezeFor
};

// What happens at one moment, or not at all.
struct GroupRequest {
  std::vector<GroupMember> members;
  // Which group decides (NewGroupId), for whoever has named it in records of their own; empty: a
  // new one.
  std::string id = {};
  std::vector<std::shared_ptr<Disk>> named_beside = {};  // disks that such records are of
};

// An image file, and whether anybody needs it.
struct LayerReport {
  std::string path;
  ImageFormat format = ImageFormat::kQcow2;
  uint64_t actual_size = 0;              // bytes that its file occupies
  std::vector<std::string> built_on_by;  // paths of its direct overlays
  bool needed = true;                    // false: nothing refers to it, it may be deleted
  std::string reason;                    // for people
};

// What became of the layers that a stream has left out.
struct LeftOutLayers {
  std::vector<std::string> unneeded;  // paths: nobody needs them any more, and they are still there
  std::vector<std::string> removed;   // paths
  std::string problem;                // why one that nobody needs was not removed, or empty
};

}  // namespace chainfs
