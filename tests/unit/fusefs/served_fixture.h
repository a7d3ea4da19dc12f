// SPDX-License-Identifier: Apache-2.0
//
// ServedDiskTest: one disk of a raw image in a directory of the test's own, as the parts of a mount
// see it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "ctl/control/served_disks.h"
#include "tests/support/temp_dir.h"

namespace chainfs::fusefs {

class ServedDiskTest : public testing::Test {
 protected:
  static constexpr uint64_t kSize = 1 << 20;

  void SetUp() override {
    WriteTextFile(dir_ / "vm.raw", "");
    ASSERT_EQ(::truncate((dir_ / "vm.raw").c_str(), kSize), 0);
    auto catalog =
        Catalog::Open({{.path = dir_.path(), .name = std::nullopt, .format = std::nullopt}}, {});
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *std::move(catalog);
    const DiskPtr disk = catalog_->Find("vm");
    ASSERT_NE(disk, nullptr);
    served_ = served_disks_.Add(disk).served;
  }
  void TearDown() override {
    served_.reset();
    for (const control::ServedDiskPtr& disk : served_disks_.List()) {
      served_disks_.Remove(*disk->disk);
    }
    if (catalog_ != nullptr) {
      EXPECT_TRUE(catalog_->Close());
    }
  }
  void Write(char with) const {
    const std::string data(4096, with);
    ASSERT_TRUE(served_->disk->Write(GuestOffset(0), std::as_bytes(std::span(data))));
  }

  TempDir dir_;
  std::unique_ptr<Catalog> catalog_;
  control::ServedDisks served_disks_;
  control::ServedDiskPtr served_;
};

}  // namespace chainfs::fusefs
