// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/caller.h"

#include <gtest/gtest.h>

namespace chainfs::control {
namespace {

constexpr uid_t kDaemon = 1000;
constexpr gid_t kGroup = 2000;

TEST(CommandAccess, RootAndTheDaemonsUserAlwaysMay) {
  const CommandAccess access(kDaemon, std::nullopt);
  EXPECT_TRUE(access.Permits({.uid = 0, .gid = 5}));
  EXPECT_TRUE(access.Permits({.uid = kDaemon, .gid = 5}));
  EXPECT_FALSE(access.Permits({.uid = 7, .gid = kGroup}));
}

TEST(CommandAccess, MembersOfTheGroupMay) {
  const CommandAccess access(kDaemon, kGroup);
  EXPECT_TRUE(access.Permits({.uid = 7, .gid = kGroup}));
  EXPECT_TRUE(
      access.Permits({.uid = 7, .gid = 5, .groups = [] { return std::vector<gid_t>{1, kGroup}; }}));
  EXPECT_FALSE(
      access.Permits({.uid = 7, .gid = 5, .groups = [] { return std::vector<gid_t>{1, 2}; }}));
  EXPECT_FALSE(access.Permits({.uid = 7, .gid = 5})) << "nobody can tell its groups";
}

TEST(CommandAccess, GroupsAreAskedForOnlyWhereTheyMatter) {
  int asked = 0;
  const auto groups = [&asked] {
    ++asked;
    return std::vector<gid_t>();
  };
  (void)CommandAccess(kDaemon, std::nullopt).Permits({.uid = 7, .gid = 5, .groups = groups});
  (void)CommandAccess(kDaemon, kGroup).Permits({.uid = 0, .gid = 5, .groups = groups});
  EXPECT_EQ(asked, 0);
  (void)CommandAccess(kDaemon, kGroup).Permits({.uid = 7, .gid = 5, .groups = groups});
  EXPECT_EQ(asked, 1);
}

}  // namespace
}  // namespace chainfs::control
