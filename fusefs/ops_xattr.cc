// SPDX-License-Identifier: Apache-2.0
//
// Extended attributes: status to read, commands to write, nothing to store. The kernel asks for
// security.capability before each cached write, so foreign names are answered without looking at
// anything.
#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "ctl/control/errno_map.h"
#include "fusefs/fuse_ops.h"
#include "fusefs/status_attributes.h"

namespace chainfs::fusefs {
namespace {

// What the kernel accepts of a value; larger ones would be an error there.
constexpr size_t kMaxValue = 65536;
// A value may grow between the question for its size and the reading.
constexpr size_t kSlack = 4096;

// ERRNO of a name that is not ours.
int ForeignName(std::string_view name) {
  return name.starts_with("system.posix_acl_") ? EOPNOTSUPP : ENODATA;
}

int GetXattr(MountState& mount, fuse_req_t req, fuse_ino_t ino, std::string_view name,
             size_t size) {
  if (!name.starts_with(kAttributePrefix)) return ForeignName(name);
  const NodePtr node = mount.inodes.Find(ino);
  if (node == nullptr) return ENOENT;
  const std::optional<std::string> value =
      StatusValue(mount, *node, name.substr(kAttributePrefix.size()));
  if (!value) return ENODATA;
  if (size == 0) {
    fuse_reply_xattr(req, std::min(value->size() + kSlack, kMaxValue));
    return kReplied;
  }
  if (value->size() > size) return ERANGE;
  fuse_reply_buf(req, value->data(), value->size());
  return kReplied;
}

int ListXattr(MountState& mount, fuse_req_t req, fuse_ino_t ino, size_t size) {
  std::string list;
  const NodePtr node = mount.options.list_xattrs ? mount.inodes.Find(ino) : nullptr;
  if (node != nullptr) {
    for (const std::string& name : StatusNames(mount, *node)) list += name + '\0';
  }
  if (size == 0) {
    fuse_reply_xattr(req, list.size());
    return kReplied;
  }
  if (list.size() > size) return ERANGE;
  fuse_reply_buf(req, list.data(), list.size());
  return kReplied;
}

Status RunCommand(MountState& mount, fuse_req_t req, const Node& node, std::string_view name,
                  std::string_view value, int flags) {
  if (node.kind != NodeKind::kDisk && node.kind != NodeKind::kRoot) {
    return Fail(ErrorKind::kUnsupported, "this file takes no commands");
  }
  const fuse_ctx* context = fuse_req_ctx(req);
  const MountState::Caller caller = {.uid = context->uid, .gid = context->gid, .pid = context->pid};
  if (!mount.MayCommand(caller, req)) {
    return Fail(ErrorKind::kPermission,
                "commands are for root, the daemon's user and the group of -o control_gid");
  }
  if (IsStatusName(name)) {
    return Fail(ErrorKind::kUnsupported, fmt::format("\"{}\" can only be read", name));
  }
  if (flags != 0) {
    return Fail(ErrorKind::kInvalidArgument,
                "the flags XATTR_CREATE and XATTR_REPLACE are not for commands");
  }
  return mount.commands.Execute(name, value, node.disk, caller.uid == 0);
}

int SetXattr(MountState& mount, fuse_req_t req, fuse_ino_t ino, std::string_view name,
             std::string_view value, int flags) {
  if (!name.starts_with(kAttributePrefix)) return EOPNOTSUPP;
  const NodePtr node = mount.inodes.Find(ino);
  if (node == nullptr) return ENOENT;
  const Status done =
      RunCommand(mount, req, *node, name.substr(kAttributePrefix.size()), value, flags);
  if (done) return 0;
  mount.Refused(*node, name, done.error());
  return control::ErrnoOf(done.error());
}

}  // namespace

void AddXattrOps(fuse_lowlevel_ops* ops) {
  ops->getxattr = [](fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
    Serve(req, "getxattr",
          [&](MountState& mount) { return GetXattr(mount, req, ino, name, size); });
  };
  ops->listxattr = [](fuse_req_t req, fuse_ino_t ino, size_t size) {
    Serve(req, "listxattr", [&](MountState& mount) { return ListXattr(mount, req, ino, size); });
  };
  ops->setxattr = [](fuse_req_t req, fuse_ino_t ino, const char* name, const char* value,
                     size_t size, int flags) {
    Serve(req, "setxattr", [&](MountState& mount) {
      return SetXattr(mount, req, ino, name, std::string_view(value, size), flags);
    });
  };
  ops->removexattr = [](fuse_req_t req, fuse_ino_t, const char*) {
    fuse_reply_err(req, EOPNOTSUPP);
  };
}

}  // namespace chainfs::fusefs
