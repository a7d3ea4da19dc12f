// SPDX-License-Identifier: Apache-2.0
#include "fusefs/node_attributes.h"

#include <unistd.h>

#include "blocklayer/base/timestamp.h"
#include "fusefs/disk_mode.h"

namespace chainfs::fusefs {
namespace {

bool SameTime(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

AttributeOverrides OverridesOf(const Node& node) {
  const MutexLock lock(node.mu);
  return node.overrides;
}

}  // namespace

NodeAttributes::NodeAttributes(const Options& options)
    : options_(options),
      owner_uid_(options.uid.value_or(::getuid())),
      owner_gid_(options.gid.value_or(::getgid())),
      daemon_uid_(::getuid()),
      start_(RealTimeNow()) {}

mode_t NodeAttributes::ModeOfDisk(const Node& node) const {
  const AttributeOverrides set = OverridesOf(node);
  const mode_t usual = set.permissions.value_or(0666u & ~options_.umask);
  const mode_t writing = node.disk->read_only() ? 0u : 0222u;
  return usual & (0555u | writing) & (PermittedModeOf(node) | 0111u);
}

mode_t NodeAttributes::PermittedModeOf(const Node& node) const {
  const AttributeOverrides set = OverridesOf(node);
  const ShownOwner shown = {.uid = set.uid.value_or(owner_uid_),
                            .gid = set.gid.value_or(owner_gid_),
                            .uid_given = set.uid || options_.uid,
                            .gid_given = !set.gid && options_.gid,
                            .daemon_uid = daemon_uid_,
                            .allow_other = options_.allow_other};
  return PermittedBits(shown, *node.disk);
}

mode_t NodeAttributes::ModeOf(const Node& node) const {
  switch (node.kind) {
    case NodeKind::kRoot:
      return S_IFDIR | (0777u & ~options_.umask);
    case NodeKind::kControlDirectory:
    case NodeKind::kMapDirectory:
    case NodeKind::kChangedDirectory:
      return S_IFDIR | (options_.control_gid ? 0750u : 0700u);
    case NodeKind::kDisk:
      return S_IFREG | ModeOfDisk(node);
    case NodeKind::kEvents:
    case NodeKind::kChains:
    case NodeKind::kJobs:
    case NodeKind::kMetrics:
    case NodeKind::kLayers:
    case NodeKind::kMap:
    case NodeKind::kChanged:
      return S_IFREG | (options_.control_gid ? 0440u : 0400u);
  }
  return 0;
}

bool NodeAttributes::LetsWrite(const Node& node, const control::Caller& caller) const {
  if (caller.IsRoot()) return true;
  const AttributeOverrides set = OverridesOf(node);
  const bool given = set.permissions && node.kind != NodeKind::kDisk;
  const mode_t mode = given ? *set.permissions : ModeOf(node);
  if (caller.uid == set.uid.value_or(owner_uid_)) return (mode & S_IWUSR) != 0;
  if (caller.HasGroup(set.gid.value_or(owner_gid_))) return (mode & S_IWGRP) != 0;
  return (mode & S_IWOTH) != 0;
}

struct stat NodeAttributes::StatOf(Node& node) const {
  struct stat st = {};
  st.st_ino = node.shown_ino;
  st.st_mode = ModeOf(node);
  st.st_nlink = IsDirectory(node.kind) ? 2 : 1;
  st.st_uid = owner_uid_;
  const bool control = node.kind != NodeKind::kRoot && node.kind != NodeKind::kDisk;
  st.st_gid = control ? options_.control_gid.value_or(owner_gid_) : owner_gid_;
  st.st_blksize = 4096;
  st.st_mtim = st.st_ctim = st.st_atim = start_;
  if (node.kind == NodeKind::kDisk) {
    node.shown_mode = st.st_mode;
    st.st_size = static_cast<off_t>(node.disk->size());
    const Result<uint64_t> allocated = node.disk->chain()->AllocatedBytes();
    st.st_blocks = static_cast<blkcnt_t>(allocated.value_or(0) / 512);
    st.st_mtim = st.st_ctim = st.st_atim = node.disk->modified();
  }
  const AttributeOverrides set = OverridesOf(node);
  if (set.permissions && node.kind != NodeKind::kDisk) {
    st.st_mode = (st.st_mode & S_IFMT) | *set.permissions;
  }
  if (set.uid) st.st_uid = *set.uid;
  if (set.gid) st.st_gid = *set.gid;
  if (set.accessed) st.st_atim = *set.accessed;
  if (set.modified &&
      (node.kind != NodeKind::kDisk || SameTime(set.modified_when_set, st.st_ctim))) {
    st.st_mtim = *set.modified;
  }
  return st;
}

}  // namespace chainfs::fusefs
