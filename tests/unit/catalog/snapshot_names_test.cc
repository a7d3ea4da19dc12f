// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshot_names.h"

#include <gtest/gtest.h>

#include <set>

namespace chainfs {
namespace {

using Names = std::vector<std::string>;

Names NamesOf(const std::vector<std::pair<std::string, std::string>>& ids_and_names,
              const std::set<std::string>& taken = {}) {
  ImageSnapshots snapshots;
  for (const auto& [id, name] : ids_and_names) {
    snapshots.kept.push_back({.id = id, .name = name});
    ++snapshots.count;
  }
  return NameSnapshotDisks("vm1", snapshots,
                           [&](const std::string& name) { return taken.contains(name); });
}

TEST(SnapshotNamesTest, NamesAndIds) {
  EXPECT_EQ(NamesOf({{"1", "before upgrade"}, {"2", ""}, {"3", "é"}}),
            (Names{"vm1@before upgrade", "vm1@2", "vm1@é"}));
}

TEST(SnapshotNamesTest, WhatCannotStandInAFileNameIsEscaped) {
  EXPECT_EQ(NamesOf({{"1", "a/b"}, {"2", "line\nbreak"}, {"3", "\xff"}, {"4", "../../x"}}),
            (Names{"vm1@a%2Fb", "vm1@line%0Abreak", "vm1@%FF", "vm1@..%2F..%2Fx"}));
  EXPECT_EQ(NamesOf({{"1", std::string(255, 'n')}}), (Names{"vm1@1"}));
  EXPECT_EQ(NamesOf({{std::string(255, 'i'), std::string(255, 'n')}}), (Names{""}));
}

TEST(SnapshotNamesTest, CollisionsAreToldApartByTheId) {
  EXPECT_EQ(NamesOf({{"1", "a"}, {"2", "a"}, {"3", "b"}}), (Names{"vm1@a#1", "vm1@a#2", "vm1@b"}));
  EXPECT_EQ(NamesOf({{"1", "a"}}, {"vm1@a"}), (Names{"vm1@a#1"}));
  EXPECT_EQ(NamesOf({{"7", "a"}, {"7", "a"}}), (Names{"vm1@a#7", ""})) << "the image is broken";
  EXPECT_EQ(NamesOf({{"1", "a"}, {"2", "a"}, {"3", "a#1"}}), (Names{"", "vm1@a#2", "vm1@a#1"}));
}

}  // namespace
}  // namespace chainfs
