// SPDX-License-Identifier: Apache-2.0
//
// InodeTable: what the kernel may ask for by number. README.md has the table of numbers.
//
// Terms: a node is *linked* while its name leads to it. A disk that goes away is unlinked: its name
// is free again, and the node stays for those who hold it (kernel references, open files). Its
// *number* is what the kernel calls it by; the *shown number* is what stat and readdir say.
//
// Invariants: FS-1 to FS-3 (README.md).
//
// Threads: all methods, any thread. mu_ is held for map operations only; never across I/O, a call
// into the catalog or a reply.
#pragma once

#include <sys/stat.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/chain/disk.h"
#include "ctl/control/served_disks.h"
#include "fusefs/page_cache.h"

namespace chainfs::fusefs {

enum class NodeKind : uint8_t {
  kRoot,
  kControlDirectory,  // .chainfs
  kEvents,
  kChains,
  kJobs,
  kMetrics,
  kLayers,
  kMapDirectory,      // .chainfs/map
  kMap,               // .chainfs/map/NAME.json
  kChangedDirectory,  // .chainfs/changed
  kChanged,           // .chainfs/changed/NAME.json, or NAME@LAYER.json
  kDisk,              // NAME.raw
};

inline constexpr uint64_t kRootInode = 1;
inline constexpr uint64_t kMapInode = 7;
inline constexpr uint64_t kChangedInode = 9;
inline constexpr std::string_view kControlDirectoryName = ".chainfs";

// What chmod, chown and utimens set; kept in memory only.
struct AttributeOverrides {
  std::optional<mode_t> permissions;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<timespec> accessed;
  std::optional<timespec> modified;
  timespec modified_when_set = {};  // the disk's own time then; a later write overrules
};

struct Node {
  Node(uint64_t number, uint64_t shown, NodeKind what, std::string file_name,
       const control::ServedDiskPtr& shown_disk)
      : ino(number),
        shown_ino(shown),
        kind(what),
        name(std::move(file_name)),
        served(what == NodeKind::kDisk ? shown_disk : nullptr),
        disk(shown_disk == nullptr ? nullptr : shown_disk->disk) {}

  const uint64_t ino;
  const uint64_t shown_ino;
  const NodeKind kind;
  const std::string name;               // in its directory
  const control::ServedDiskPtr served;  // kDisk
  const DiskPtr disk;                   // kDisk, kMap, kChanged

  PageCache pages;  // kDisk
  // What getattr last said, to notice changes that the kernel must be told of (kDisk).
  // 0: it was not asked for yet.
  std::atomic<mode_t> shown_mode = 0;
  // Reverts after which the kernel still may have pages of what the disk showed before.
  const std::shared_ptr<std::atomic<int>> stale_pages = std::make_shared<std::atomic<int>>(0);

  mutable Mutex mu;
  AttributeOverrides overrides GUARDED_BY(mu);
};
using NodePtr = std::shared_ptr<Node>;

bool IsDirectory(NodeKind kind);

class InodeTable {
 public:
  InodeTable();

  // Null when there is none. The fixed nodes are always there.
  NodePtr Find(uint64_t ino) const EXCLUDES(mu_);
  NodePtr FindByName(NodeKind directory, std::string_view name) const EXCLUDES(mu_);
  NodePtr root() const { return root_; }
  // The node of `disk` itself, while it is linked.
  NodePtr FindDisk(const Disk& disk) const EXCLUDES(mu_);
  // What a directory shows, sorted by name, without "." and "..".
  std::vector<NodePtr> List(NodeKind directory) const EXCLUDES(mu_);

  // The kernel holds one reference more; call before the reply that says so. False when its name
  // leads to it no more, which the kernel must not remember then.
  bool Remember(const Node& node) EXCLUDES(mu_);
  void Forget(uint64_t ino, uint64_t count) EXCLUDES(mu_);

  // What became of a name. The kernel is told of names that it knew and of no others: it would take
  // the new file away from those who have found it already.
  struct NameChange {
    bool changed = false;
    bool disk_known = false;     // the kernel may remember what NAME.raw led to before
    bool map_known = false;      // and map/NAME.json
    bool changed_known = false;  // and changed/NAME.json
    explicit operator bool() const { return changed; }
  };
  // Links a disk; the one of that name that was there is unlinked. Adding what is there does
  // nothing.
  NameChange Add(const control::ServedDiskPtr& served) EXCLUDES(mu_);
  NameChange Remove(const Disk& disk) EXCLUDES(mu_);
  // A node that no directory lists, for a name that is made up when it is asked for: there until
  // the kernel has forgotten the look-up that Remember must follow with.
  NodePtr AddUnlisted(NodeKind kind, std::string name, const control::ServedDiskPtr& served)
      EXCLUDES(mu_);

  size_t SizeForTesting() const EXCLUDES(mu_);

 private:
  struct Entry {
    NodePtr node;
    uint64_t lookups = 0;
    bool linked = true;
  };

  using Names = std::map<std::string, NodePtr, std::less<>>;
  // Of a directory of disks; by file name.
  const Names& NamesOf(NodeKind directory) const REQUIRES(mu_) { return names_.at(directory); }
  // Whether the kernel remembers it.
  bool Unlink(const NodePtr& node) REQUIRES(mu_);
  // All names of a disk that is linked.
  NameChange UnlinkAll(const std::string& name, std::vector<NodePtr>& unlinked) REQUIRES(mu_);
  void DropIfUnused(uint64_t ino) REQUIRES(mu_);
  // A node of the next number, in the table.
  NodePtr MakeNode(NodeKind kind, std::string name, const control::ServedDiskPtr& served)
      REQUIRES(mu_);
  // The same, and in its directory.
  void Link(NodeKind kind, std::string name, const control::ServedDiskPtr& served) REQUIRES(mu_);
  uint64_t TakeShownNumber(NodeKind kind, std::string_view name) REQUIRES(mu_);

  const NodePtr root_;
  std::vector<NodePtr> fixed_;  // of .chainfs, sorted by name; constant after construction

  mutable Mutex mu_;
  std::unordered_map<uint64_t, Entry> by_number_ GUARDED_BY(mu_);
  // Of the directories of disks: the root, map, changed.
  std::map<NodeKind, Names> names_ GUARDED_BY(mu_);
  uint64_t next_ GUARDED_BY(mu_);
  // Of the nodes of disks in by_number_.
  std::unordered_set<uint64_t> shown_ GUARDED_BY(mu_);
};

}  // namespace chainfs::fusefs
