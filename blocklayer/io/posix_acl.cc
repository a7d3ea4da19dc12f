// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/posix_acl.h"

#include <endian.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/xattr.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace chainfs {
namespace {

constexpr mode_t kOwner = 07700;
// Of a list with as many entries as a value of an attribute may hold on ext4 and XFS.
constexpr size_t kMostBytes = 4096;

}  // namespace

mode_t NarrowByAcl(const std::string& path, mode_t permissions) {
  if ((permissions & 0077) == 0) return permissions;
  std::array<char, kMostBytes> value = {};
  const ssize_t got =
      ::getxattr(path.c_str(), "system.posix_acl_access", value.data(), value.size());
  if (got < 0 && (errno == ENODATA || errno == EOPNOTSUPP)) return permissions;
  if (got < static_cast<ssize_t>(sizeof(posix_acl_xattr_header))) return permissions & kOwner;
  mode_t group = 07;
  mode_t mask = 07;
  mode_t other = 07;
  for (size_t at = sizeof(posix_acl_xattr_header);
       at + sizeof(posix_acl_xattr_entry) <= static_cast<size_t>(got);
       at += sizeof(posix_acl_xattr_entry)) {
    posix_acl_xattr_entry entry = {};
    std::memcpy(&entry, value.data() + at, sizeof entry);
    const mode_t allowed = le16toh(entry.e_perm) & 07u;
    switch (le16toh(entry.e_tag)) {
      case ACL_USER_OBJ:
        break;
      case ACL_MASK:
        mask = allowed;
        break;
      case ACL_OTHER:
        other &= allowed;
        break;
      case ACL_GROUP_OBJ:
        group &= allowed;
        break;
      default:
        // One of these may be among the group, or among the others.
        group &= allowed;
        other &= allowed;
    }
  }
  return permissions & (kOwner | (group & mask) << 3 | other);
}

}  // namespace chainfs
