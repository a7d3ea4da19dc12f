// SPDX-License-Identifier: Apache-2.0
//
// Names of the chains in view: a name in use is kept, and what the next mount would give to another
// is remembered.
#include "blocklayer/catalog/chain_names.h"

#include <string>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class ChainNamesTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("vm.qcow2");
    ASSERT_TRUE(OpenAll());
    ASSERT_TRUE(sources_.Add({.path = dir_.path()}));
    CatalogEntry& vm = Add("vm.qcow2");
    vm.disk = catalog_->Find("vm");
    vm.name = "vm";
  }
  void TearDown() override { entries_.clear(); }

  CatalogEntry& Add(const std::string& file) {
    CatalogEntry& entry = entries_[At(file)];
    entry.candidate.path = At(file);
    entry.candidate.file_name = file;
    return entry;
  }
  std::string NameOf(const std::string& file) { return entries_.at(At(file)).name; }
  size_t Remembered() { return sources_.records(0).ReadAll("name-")->size(); }

  Roots roots_{nullptr};
  Sources sources_{roots_, ""};
  CatalogEntries entries_;
};

TEST_F(ChainNamesTest, ANameInUseIsKept) {
  NameEntries(entries_);
  EXPECT_EQ(NameOf("vm.qcow2"), "vm");
  Add("vm.raw");
  NameEntries(entries_);
  EXPECT_EQ(NameOf("vm.qcow2"), "vm");
  EXPECT_EQ(NameOf("vm.raw"), "vm.raw");
}

TEST_F(ChainNamesTest, WhatTheUserSaidGoesBeforeWhatARecordSays) {
  Add("a.qcow2").candidate.fixed_name = "x";
  CatalogEntry& named = Add("b.qcow2");
  named.candidate.fixed_name = "x";
  named.candidate.named_by_user = true;
  NameEntries(entries_);
  EXPECT_EQ(NameOf("b.qcow2"), "x");
  EXPECT_NE(NameOf("a.qcow2"), "x");
}

TEST_F(ChainNamesTest, OnlyANameThatANewcomerWouldTakeIsRemembered) {
  NameEntries(entries_);
  RememberNames(entries_, sources_, false);
  EXPECT_EQ(Remembered(), 0u);
  Add("vm.raw");
  NameEntries(entries_);
  RememberNames(entries_, sources_, true);
  EXPECT_EQ(Remembered(), 0u) << "a read-only mount writes nothing";
  RememberNames(entries_, sources_, false);
  EXPECT_EQ(Remembered(), 1u);
}

}  // namespace
}  // namespace chainfs
