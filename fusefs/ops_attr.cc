// SPDX-License-Identifier: Apache-2.0
//
// Attributes. The size of a disk grows by truncate and shrinks never: `cp backup.raw MNT/vm1.raw`
// begins with O_TRUNC and would wipe the disk. Modes, owners and times are kept for the life of the
// mount (libvirt sets and restores them), not in the images.
#include "fusefs/ops_attr.h"

#include <fmt/format.h>

#include "blocklayer/base/timestamp.h"
#include "fusefs/fuse_ops.h"

namespace chainfs::fusefs {
namespace {

int ReplyAttr(const MountContext& mount, fuse_req_t req, Node& node) {
  const struct stat st = mount.attributes.StatOf(node);
  fuse_reply_attr(req, &st, kCacheSeconds);
  return kReplied;
}

int ChangeSize(MountContext& mount, fuse_req_t req, Node& node, off_t wanted) {
  if (node.kind != NodeKind::kDisk) return EPERM;
  Disk& disk = *node.disk;
  const uint64_t size = disk.size();
  const auto new_size = static_cast<uint64_t>(wanted);
  if (new_size == size) return 0;
  if (disk.read_only()) return mount.control.errors.ChangeRefused(*node.served, "truncate");
  if (new_size < size) {
    return mount.control.errors.OperationRefused(
        node.served.get(), "truncate", EPERM,
        fmt::format("{} does not shrink (from {} to {} bytes were asked for); to replace what it "
                    "holds, write over it: dd conv=notrunc, or qemu-img convert -n",
                    disk.name(), size, new_size));
  }
  if (new_size > INT64_MAX - 512) {
    return mount.control.errors.OperationRefused(
        node.served.get(), "truncate", EFBIG,
        fmt::format("{} cannot become as large as that", disk.name()));
  }
  const Status grown =
      disk.Grow(RoundUp(new_size, 512), [req] { return fuse_req_interrupted(req) != 0; });
  if (disk.size() != size) mount.loops.SizeChanged(node.shown_ino, disk.size());
  if (!grown && grown.error().kind == ErrorKind::kCancelled) return EINTR;
  return grown ? 0 : mount.control.errors.OperationFailed(*node.served, "truncate", grown.error());
}

int CheckMode(MountContext& mount, Node& node, mode_t wanted) {
  if (node.kind != NodeKind::kDisk) return 0;
  if (node.disk->read_only() && (wanted & 0222) != 0) {
    return mount.control.errors.ChangeRefused(*node.served, "chmod");
  }
  const mode_t permitted = mount.attributes.PermittedModeOf(node);
  if ((wanted & 0666 & ~permitted) == 0) return 0;
  return mount.control.errors.OperationRefused(
      node.served.get(), "chmod", EPERM,
      fmt::format("{} cannot have the mode {:04o}: its images, and the directories above them, "
                  "permit {:04o} at most; chmod those",
                  node.disk->name(), wanted & 07777, permitted));
}

int ChangeKept(MountContext& mount, Node& node, const struct stat& wanted, int what) {
  if ((what & FUSE_SET_ATTR_MODE) != 0) {
    if (const int error = CheckMode(mount, node, wanted.st_mode); error != 0) return error;
  }
  const MutexLock lock(node.mu);
  AttributeOverrides& set = node.overrides;
  // Nothing here is ever executed as somebody else.
  if ((what & FUSE_SET_ATTR_MODE) != 0) set.permissions = wanted.st_mode & 0777;
  if ((what & FUSE_SET_ATTR_UID) != 0) set.uid = wanted.st_uid;
  if ((what & FUSE_SET_ATTR_GID) != 0) set.gid = wanted.st_gid;
  if ((what & FUSE_SET_ATTR_ATIME) != 0) set.accessed = wanted.st_atim;
  if ((what & FUSE_SET_ATTR_ATIME_NOW) != 0) set.accessed = RealTimeNow();
  if ((what & (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)) != 0) {
    set.modified = (what & FUSE_SET_ATTR_MTIME_NOW) != 0 ? RealTimeNow() : wanted.st_mtim;
    if (node.disk != nullptr) set.modified_when_set = node.disk->modified();
  }
  return 0;
}

int SetAttr(MountContext& mount, fuse_req_t req, fuse_ino_t ino, const struct stat& wanted,
            int what) {
  const NodePtr node = mount.inodes.Find(ino);
  if (node == nullptr) return ENOENT;
  constexpr int kKept = FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID |
                        FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_ATIME_NOW | FUSE_SET_ATTR_MTIME |
                        FUSE_SET_ATTR_MTIME_NOW;
  if (node->kind != NodeKind::kDisk && node->kind != NodeKind::kRoot && what != 0) return EPERM;
  if ((what & FUSE_SET_ATTR_SIZE) != 0) {
    if (const int error = ChangeSize(mount, req, *node, wanted.st_size); error != 0) return error;
  }
  if ((what & kKept) != 0) {
    if (const int error = ChangeKept(mount, *node, wanted, what); error != 0) return error;
  }
  return ReplyAttr(mount, req, *node);
}

}  // namespace

void AddAttrOps(fuse_lowlevel_ops* ops) {
  ops->getattr = [](fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
    Serve(req, "getattr", [&](const MountContext& mount) {
      const NodePtr node = mount.inodes.Find(ino);
      return node == nullptr ? ENOENT : ReplyAttr(mount, req, *node);
    });
  };
  ops->setattr = [](fuse_req_t req, fuse_ino_t ino, struct stat* wanted, int what,
                    fuse_file_info*) {
    Serve(req, "setattr",
          [&](MountContext& mount) { return SetAttr(mount, req, ino, *wanted, what); });
  };
}

}  // namespace chainfs::fusefs
