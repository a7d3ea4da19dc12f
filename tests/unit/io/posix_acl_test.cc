// SPDX-License-Identifier: Apache-2.0
//
// With an access control list, the group's bits of a mode are its mask.
#include "blocklayer/io/posix_acl.h"

#include <endian.h>
#include <gtest/gtest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

struct Entry {
  uint16_t tag;
  uint16_t permissions;
  uint32_t id = ACL_UNDEFINED_ID;
};

// False when the host keeps no lists.
bool SetAcl(const std::string& path, const std::vector<Entry>& entries) {
  std::string value(sizeof(posix_acl_xattr_header), '\0');
  const posix_acl_xattr_header header = {.a_version = htole32(POSIX_ACL_XATTR_VERSION)};
  std::memcpy(value.data(), &header, sizeof header);
  for (const Entry& entry : entries) {
    const posix_acl_xattr_entry raw = {.e_tag = htole16(entry.tag),
                                       .e_perm = htole16(entry.permissions),
                                       .e_id = htole32(entry.id)};
    value.append(reinterpret_cast<const char*>(&raw), sizeof raw);
  }
  return ::setxattr(path.c_str(), "system.posix_acl_access", value.data(), value.size(), 0) == 0;
}

TEST(PosixAclTest, TheModeStandsWithoutAList) {
  const TempDir dir;
  WriteTextFile(dir / "f", "");
  EXPECT_EQ(NarrowByAcl(dir / "f", 0664), 0664u);
  EXPECT_EQ(NarrowByAcl(dir / "missing", 0664), 0600u);
}

TEST(PosixAclTest, EveryEntryNarrows) {
  const TempDir dir;
  WriteTextFile(dir / "f", "");
  // One user may; the owning group and others may not, although the mode shows rw for the group.
  if (!SetAcl(dir / "f", {{ACL_USER_OBJ, 6},
                          {ACL_USER, 6, 1234},
                          {ACL_GROUP_OBJ, 0},
                          {ACL_MASK, 6},
                          {ACL_OTHER, 0}})) {
    GTEST_SKIP() << "no access control lists here: " << std::strerror(errno);
  }
  struct stat st = {};
  ASSERT_EQ(::stat((dir / "f").c_str(), &st), 0);
  ASSERT_EQ(st.st_mode & 0777, 0660u);
  EXPECT_EQ(NarrowByAcl(dir / "f", 0660), 0600u);
  // One user is kept out of what others may read.
  ASSERT_TRUE(SetAcl(
      dir / "f",
      {{ACL_USER_OBJ, 6}, {ACL_USER, 0, 1234}, {ACL_GROUP_OBJ, 4}, {ACL_MASK, 4}, {ACL_OTHER, 4}}));
  EXPECT_EQ(NarrowByAcl(dir / "f", 0644), 0600u);
}

}  // namespace
}  // namespace chainfs
