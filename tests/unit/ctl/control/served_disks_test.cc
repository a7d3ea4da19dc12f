// SPDX-License-Identifier: Apache-2.0
//
// CTL-1: what is remembered belongs to a disk, not to its name.
#include "ctl/control/served_disks.h"

#include "tests/unit/ctl/control/control_fixture.h"

namespace chainfs::control {
namespace {

TEST_F(ControlTest, ServedDisksAreFoundByNameAndByDisk) {
  Make("b.qcow2");
  Make("a.qcow2");
  Open();
  ServedDisks disks;
  const ServedDisks::Added added = disks.Add(Find("b"));
  EXPECT_TRUE(added.is_new);
  EXPECT_FALSE(disks.Add(Find("b")).is_new);
  EXPECT_EQ(disks.Add(Find("b")).served, added.served);
  EXPECT_TRUE(disks.Add(Find("a")).is_new);
  EXPECT_EQ(disks.Find("b"), added.served);
  EXPECT_EQ(disks.Find(*Find("b")), added.served);
  EXPECT_EQ(disks.Find("c"), nullptr);
  const auto list = disks.List();
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0]->disk->name(), "a");
  EXPECT_TRUE(disks.Remove(*Find("b")));
  EXPECT_FALSE(disks.Remove(*Find("b")));
  EXPECT_EQ(disks.Find("b"), nullptr);
}

TEST_F(ControlTest, AnotherDiskOfTheNameBeginsAnew) {
  Make("vm.qcow2");
  Open();
  ServedDisks disks;
  ServedDiskPtr first = disks.Add(Find("vm")).served;
  plane_->errors.OperationRefused(first.get(), "open", EPERM, "no");
  EXPECT_FALSE(plane_->errors.Of(first.get()).empty());
  // The image is another file now.
  ASSERT_TRUE(host_->OpenRoot()->RemoveFile("vm.qcow2", Find("vm")->chain()->active->id));
  ASSERT_TRUE(catalog_->Rescan());
  Make("vm.qcow2");
  ASSERT_TRUE(catalog_->Rescan());
  const DiskPtr again = Find("vm");
  ASSERT_NE(again, first->disk);
  const ServedDisks::Added added = disks.Add(again);
  EXPECT_TRUE(added.is_new);
  EXPECT_TRUE(plane_->errors.Of(added.served.get()).empty());
  EXPECT_FALSE(disks.Remove(*first->disk)) << "its name leads to another one";
  EXPECT_EQ(disks.Find("vm"), added.served);
  EXPECT_FALSE(plane_->errors.Of(first.get()).empty()) << "for whoever still has it open";
}

}  // namespace
}  // namespace chainfs::control
