// SPDX-License-Identifier: Apache-2.0
//
// Extended attributes: status to read, commands to write, nothing to store. The kernel asks for
// security.capability before each cached write, so foreign names are answered without looking at
// anything.
#include "fusefs/ops_xattr.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "ctl/control/errno_map.h"
#include "fusefs/fuse_ops.h"

namespace chainfs::fusefs {
namespace {

constexpr std::string_view kOurPrefix = control::kAttributePrefix;
// What the kernel accepts of a value; larger ones would be an error there.
constexpr size_t kMaxValue = 65536;
// A value may grow between the question for its size and the reading.
constexpr size_t kSlack = 4096;

// ERRNO of a name that is not ours.
int ForeignName(std::string_view name) {
  return name.starts_with("system.posix_acl_") ? EOPNOTSUPP : ENODATA;
}

// The attributes of the root are those of the mount.
bool HasAttributes(const Node& node) {
  return node.kind == NodeKind::kDisk || node.kind == NodeKind::kRoot;
}

int GetXattr(const MountContext& mount, fuse_req_t req, fuse_ino_t ino, std::string_view name,
             size_t size) {
  if (!name.starts_with(kOurPrefix)) return ForeignName(name);
  const NodePtr node = mount.inodes.Find(ino);
  if (node == nullptr) return ENOENT;
  if (!HasAttributes(*node)) return ENODATA;
  const std::optional<std::string> value =
      mount.control.attributes.Value(node->served.get(), name.substr(kOurPrefix.size()));
  if (!value) return ENODATA;
  if (size == 0) {
    fuse_reply_xattr(req, std::min(value->size() + kSlack, kMaxValue));
    return kReplied;
  }
  if (value->size() > size) return ERANGE;
  fuse_reply_buf(req, value->data(), value->size());
  return kReplied;
}

int ListXattr(const MountContext& mount, fuse_req_t req, fuse_ino_t ino, size_t size) {
  std::string list;
  const NodePtr node = mount.options.list_xattrs ? mount.inodes.Find(ino) : nullptr;
  if (node != nullptr && HasAttributes(*node)) {
    for (const std::string& name : mount.control.attributes.Names(node->served.get())) {
      list += fmt::format("{}{}", kOurPrefix, name) + '\0';
    }
  }
  if (size == 0) {
    fuse_reply_xattr(req, list.size());
    return kReplied;
  }
  if (list.size() > size) return ERANGE;
  fuse_reply_buf(req, list.data(), list.size());
  return kReplied;
}

// From /proc of the caller, which waits for us in setxattr.
std::vector<gid_t> GroupsOfCaller(fuse_req_t req) {
  // That is a process which this one cannot see.
  if (fuse_req_ctx(req)->pid == 0) return {};
  std::vector<gid_t> groups(64);
  int count = fuse_req_getgroups(req, static_cast<int>(groups.size()), groups.data());
  if (count > static_cast<int>(groups.size())) {
    groups.resize(static_cast<size_t>(count));
    count = fuse_req_getgroups(req, count, groups.data());
  }
  if (count < 0) return {};
  groups.resize(std::min(groups.size(), static_cast<size_t>(count)));
  return groups;
}

Status RunCommand(MountContext& mount, fuse_req_t req, const Node& node, std::string_view name,
                  std::string_view value, int flags) {
  if (!HasAttributes(node)) {
    return Fail(ErrorKind::kUnsupported, "this file takes no commands");
  }
  const fuse_ctx* context = fuse_req_ctx(req);
  const control::Caller caller = {
      .uid = context->uid, .gid = context->gid, .groups = [req] { return GroupsOfCaller(req); }};
  control::Commands& commands = mount.control.commands;
  if (flags != 0) {
    CHAINFS_TRY(commands.CheckCaller(name, caller));
    return Fail(ErrorKind::kInvalidArgument,
                "the flags XATTR_CREATE and XATTR_REPLACE are not for commands");
  }
  return commands.Execute(name, value, node.disk, caller);
}

int SetXattr(MountContext& mount, fuse_req_t req, fuse_ino_t ino, std::string_view name,
             std::string_view value, int flags) {
  if (!name.starts_with(kOurPrefix)) return EOPNOTSUPP;
  const NodePtr node = mount.inodes.Find(ino);
  if (node == nullptr) return ENOENT;
  const Status done = RunCommand(mount, req, *node, name.substr(kOurPrefix.size()), value, flags);
  if (done) return 0;
  mount.control.errors.CommandRefused(node->served.get(), name, done.error());
  return control::ErrnoOf(done.error());
}

}  // namespace

void AddXattrOps(fuse_lowlevel_ops* ops) {
  ops->getxattr = [](fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
    Serve(req, "getxattr",
          [&](MountContext& mount) { return GetXattr(mount, req, ino, name, size); });
  };
  ops->listxattr = [](fuse_req_t req, fuse_ino_t ino, size_t size) {
    Serve(req, "listxattr", [&](MountContext& mount) { return ListXattr(mount, req, ino, size); });
  };
  ops->setxattr = [](fuse_req_t req, fuse_ino_t ino, const char* name, const char* value,
                     size_t size, int flags) {
    Serve(req, "setxattr", [&](MountContext& mount) {
      return SetXattr(mount, req, ino, name, std::string_view(value, size), flags);
    });
  };
  ops->removexattr = [](fuse_req_t req, fuse_ino_t, const char*) {
    fuse_reply_err(req, EOPNOTSUPP);
  };
}

}  // namespace chainfs::fusefs
