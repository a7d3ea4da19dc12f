// SPDX-License-Identifier: Apache-2.0
//
// What a guest changes without ever calling fsync reaches the images by itself: zeroes and discards
// as well as writes, and the space of what was discarded goes back to the host. Then the daemon is
// killed, and plain QEMU says what there is.
#include <linux/falloc.h>

#include "tests/mount/daemon.h"
#include "tests/mount/images.h"

namespace chainfs {
namespace {

constexpr off_t kSize = 8 << 20;

class PeriodicFlushTest : public testing::Test {
 protected:
  void SetUp() override {
    CreateQcow2(image_, {.size = "8M"});
    QemuIo(image_, "qcow2", {"write -P 7 0 8M"});
    full_ = Occupied();
  }
  uint64_t Occupied() const {
    struct stat st = {};
    EXPECT_EQ(::stat(image_.c_str(), &st), 0);
    return static_cast<uint64_t>(st.st_blocks) * 512;
  }
  // What plain QEMU reads of the image as it lies there, without asking for its locks.
  bool IsZeroOnDisk() const {
    return RunCommand({"qemu-io", "-r", "-U", "-f", "qcow2", "-c", "read -P 0 0 8M", image_})
               .out.find("verification failed") == std::string::npos;
  }
  void ExpectZerosAfterKill(Daemon& daemon) {
    daemon.KillHard();
    EXPECT_TRUE(IsZeroOnDisk());
    EXPECT_EQ(CheckImage(image_), 0);
  }

  const TempDir dir_;
  const std::string image_ = dir_ / "vm.qcow2";
  uint64_t full_ = 0;
};

TEST_F(PeriodicFlushTest, ADiscardIsDurableAndItsSpaceGoesBackWithoutAnotherWrite) {
  Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const OpenedFile disk(daemon / "vm.raw", O_RDWR);
  ASSERT_EQ(::fallocate(disk.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kSize), 0);
  EXPECT_TRUE(Eventually([&] { return Occupied() + kSize <= full_; })) << Occupied();
  // The clusters count as free before long, too: no leak is left.
  EXPECT_TRUE(Eventually([&] {
    return RunCommand({"qemu-img", "check", "-U", "-f", "qcow2", image_}).exit_code == 0;
  }));
  ExpectZerosAfterKill(daemon);
}

TEST_F(PeriodicFlushTest, ZeroesThatKeepTheirClustersAreDurable) {
  Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  const OpenedFile disk(daemon / "vm.raw", O_RDWR);
  ASSERT_EQ(::fallocate(disk.get(), FALLOC_FL_ZERO_RANGE, 0, kSize), 0);
  EXPECT_TRUE(Eventually([&] { return IsZeroOnDisk(); }));
  ExpectZerosAfterKill(daemon);
}

// Nobody flushes the old layer after the switch.
TEST_F(PeriodicFlushTest, ADiscardJustBeforeASnapshotIsGivenBackByIt) {
  Daemon daemon({dir_.path()});
  ASSERT_TRUE(daemon.serving()) << daemon.Log();
  {
    const OpenedFile disk(daemon / "vm.raw", O_RDWR);
    ASSERT_EQ(::fallocate(disk.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, kSize), 0);
    ASSERT_EQ(SetAttribute(daemon / "vm.raw", "user.chainfs.snapshot", ""), 0);
  }
  EXPECT_LE(Occupied() + kSize, full_);
  ExpectZerosAfterKill(daemon);
}

}  // namespace
}  // namespace chainfs
