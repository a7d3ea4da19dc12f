// SPDX-License-Identifier: Apache-2.0
//
// Marks of layers that a stream left out: written before they count, read again, and let go of.
#include "blocklayer/catalog/left_out_marks.h"

#include <filesystem>

#include "tests/unit/catalog/catalog_fixture.h"

namespace chainfs {
namespace {

class LeftOutMarksTest : public CatalogTest {
 protected:
  void SetUp() override {
    MakeQcow2("base.qcow2");
    MakeOverlay("top.qcow2", "base.qcow2");
    ASSERT_TRUE(OpenAll());
    const Layers layers = catalog_->Find("top")->chain()->AllLayers();
    top_ = layers.at(0);
    base_ = layers.at(1);
    base_entry_.stat = FileStat{.id = base_->id};
    ASSERT_TRUE(sources_.Add({.path = dir_.path()}));
  }
  void TearDown() override {
    top_ = nullptr;
    base_ = nullptr;
  }

  Roots roots_{nullptr};
  Sources sources_{roots_, ""};
  LeftOutMarks marks_{roots_, sources_, false};
  LayerPtr top_;
  LayerPtr base_;
  CatalogEntry base_entry_;
};

TEST_F(LeftOutMarksTest, AMarkOutlivesTheProcess) {
  ASSERT_TRUE(marks_.Add(0, *top_, {base_}));
  LeftOutMarks next(roots_, sources_, false);
  EXPECT_EQ(next.Of(base_entry_), nullptr) << "not read yet";
  ASSERT_TRUE(next.Load());
  ASSERT_NE(next.Of(base_entry_), nullptr);
  EXPECT_FALSE(next.Of(base_entry_)->lost);
  EXPECT_NE(next.Of(base_entry_)->Reason().find(At("top.qcow2") + "; delete it"),
            std::string::npos);
}

TEST_F(LeftOutMarksTest, WhatTheUserOrARecordNamesIsNotKeptFromBeingWritten) {
  ASSERT_TRUE(marks_.Add(0, *top_, {base_}));
  base_entry_.candidate.named_by_user = true;
  EXPECT_EQ(marks_.Of(base_entry_), nullptr);
  base_entry_.candidate.named_by_user = false;
  base_entry_.candidate.record = "chain-base";
  EXPECT_EQ(marks_.Of(base_entry_), nullptr);
}

TEST_F(LeftOutMarksTest, AMarkOfAFileThatIsGoneGoes) {
  ASSERT_TRUE(marks_.Add(0, *top_, {base_}));
  std::filesystem::rename(At("base.qcow2"), At("elsewhere"));
  MakeQcow2("base.qcow2");
  ASSERT_TRUE(marks_.Load());
  EXPECT_EQ(marks_.Of(base_entry_), nullptr);
  EXPECT_TRUE(sources_.records(0).ReadAll(kLeftOutPrefix)->empty());
}

TEST_F(LeftOutMarksTest, AMarkWhoseContentsAreGoneSaysSo) {
  ASSERT_TRUE(marks_.Add(0, *top_, {base_}));
  std::filesystem::remove(At("top.qcow2"));
  ASSERT_TRUE(marks_.Load());
  ASSERT_NE(marks_.Of(base_entry_), nullptr);
  EXPECT_TRUE(marks_.Of(base_entry_)->lost);
  EXPECT_NE(marks_.Of(base_entry_)->Reason().find("which is gone"), std::string::npos);
  // What had them was merged itself: then they are there.
  marks_.MergedFurther(At("top.qcow2"), At("elsewhere.qcow2"));
  WriteTextFile(At("elsewhere.qcow2"), "x");
  ASSERT_TRUE(marks_.Load());
  EXPECT_FALSE(marks_.Of(base_entry_)->lost);
}

TEST_F(LeftOutMarksTest, AReadOnlyMountForgetsNothing) {
  ASSERT_TRUE(marks_.Add(0, *top_, {base_}));
  std::filesystem::remove(At("base.qcow2"));
  LeftOutMarks read_only(roots_, sources_, true);
  ASSERT_TRUE(read_only.Load());
  EXPECT_EQ(read_only.Of(base_entry_), nullptr);
  EXPECT_EQ(sources_.records(0).ReadAll(kLeftOutPrefix)->size(), 1u);
}

}  // namespace
}  // namespace chainfs
