// SPDX-License-Identifier: Apache-2.0
//
// What a mount of disks does not do: names are made and removed in the sources, not here. All
// callbacks are defined, because a missing one answers ENOSYS.
#include "fusefs/ops_refused.h"

#include "fusefs/fuse_ops.h"

namespace chainfs::fusefs {
namespace {

void Refuse(fuse_req_t req) {
  Serve(req, "change of names", [](MountContext& mount) {
    return mount.control.errors.OperationRefused(
        nullptr, "change of names", mount.options.catalog.read_only ? EROFS : EPERM,
        "no files are made, removed or renamed in a mount of disks; do it in the "
        "source directories, and the disks follow");
  });
}

}  // namespace

void AddRefusedOps(fuse_lowlevel_ops* ops) {
  ops->mknod = [](fuse_req_t req, fuse_ino_t, const char*, mode_t, dev_t) { Refuse(req); };
  ops->mkdir = [](fuse_req_t req, fuse_ino_t, const char*, mode_t) { Refuse(req); };
  ops->unlink = [](fuse_req_t req, fuse_ino_t, const char*) { Refuse(req); };
  ops->rmdir = [](fuse_req_t req, fuse_ino_t, const char*) { Refuse(req); };
  ops->symlink = [](fuse_req_t req, const char*, fuse_ino_t, const char*) { Refuse(req); };
  ops->rename = [](fuse_req_t req, fuse_ino_t, const char*, fuse_ino_t, const char*, unsigned) {
    Refuse(req);
  };
  ops->link = [](fuse_req_t req, fuse_ino_t, fuse_ino_t, const char*) { Refuse(req); };
  ops->create = [](fuse_req_t req, fuse_ino_t, const char*, mode_t, fuse_file_info*) {
    Refuse(req);
  };
  ops->readlink = [](fuse_req_t req, fuse_ino_t) { fuse_reply_err(req, EINVAL); };
  ops->access = [](fuse_req_t req, fuse_ino_t, int) { fuse_reply_err(req, 0); };
  ops->ioctl = [](fuse_req_t req, fuse_ino_t, unsigned, void*, fuse_file_info*, unsigned,
                  const void*, size_t, size_t) { fuse_reply_err(req, ENOTTY); };
  ops->fsyncdir = [](fuse_req_t req, fuse_ino_t, int, fuse_file_info*) { fuse_reply_err(req, 0); };
  // The kernel copies by reading and writing instead.
  ops->copy_file_range = [](fuse_req_t req, fuse_ino_t, off_t, fuse_file_info*, fuse_ino_t, off_t,
                            fuse_file_info*, size_t, int) { fuse_reply_err(req, EOPNOTSUPP); };
}

}  // namespace chainfs::fusefs
