// SPDX-License-Identifier: Apache-2.0
//
// Backups that start in one transaction: their points in time are one, and none starts without the
// others.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "ctl/control/transaction_command.h"
#include "tests/unit/jobs/stream/stream_fixture.h"

namespace chainfs::control {
namespace {

using jobs::JobInfo;
using jobs::JobStatus;
using jobs::Words;

// Writes 1, 2, 3... to two disks by turns, so that no two moments of both look alike.
class RisingWriter {
 public:
  RisingWriter(DiskPtr first, DiskPtr second)
      : disks_{std::move(first), std::move(second)}, thread_([this] { Run(); }) {}
  ~RisingWriter() {
    stop_ = true;
    thread_.join();
  }
  static uint64_t Shown(const DiskPtr& disk) {
    uint64_t number = 0;
    EXPECT_TRUE(disk->Read(GuestOffset(0), std::as_writable_bytes(std::span(&number, 1))));
    return number;
  }
  uint64_t written() const { return written_; }

 private:
  void Run() {
    for (uint64_t number = 1; !stop_; ++number) {
      for (const DiskPtr& disk : disks_) {
        const Status done = disk->Write(GuestOffset(0), std::as_bytes(std::span(&number, 1)));
        EXPECT_TRUE(done) << done.error().message;
        if (!done) return;
      }
      written_ = number;
    }
  }

  const std::array<DiskPtr, 2> disks_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> written_ = 0;
  std::thread thread_;
};

class TransactionBackupTest : public jobs::StreamFixture {
 protected:
  void SetUp() override {
    for (const char* name : {"x.qcow2", "y.qcow2", "z.qcow2"}) {
      Create(name, 8 * kMiB);
      Io(name, {"write -P 7 1M 3M"});
    }
    OpenAll();
  }
  Status Transaction(const std::string& actions, bool dry_run = false) {
    return TransactionCommand(*catalog_, *jobs_).Run(actions, true, dry_run);
  }
  void WaitReady(const std::string& disk, const std::string& id) {
    jobs::WaitFor(
        [&] {
          const auto job = jobs_->Find(disk, id);
          return job && job->status == JobStatus::kReady;
        },
        id + " is ready");
  }
  void EndsWell(const std::string& disk, const std::string& id) {
    const JobInfo info = WaitEnd(disk, id);
    EXPECT_FALSE(info.error.has_value()) << *info.error;
  }
  bool Exists(const std::string& name) const { return std::filesystem::exists(At(name)); }
  void ExpectNothingHappened() {
    EXPECT_TRUE(Records().empty());
    EXPECT_TRUE(Records("group-").empty());
    EXPECT_TRUE(Records("chain-").empty());
    for (const auto& entry : std::filesystem::directory_iterator(At("."))) {
      const std::string name = entry.path().filename().string();
      EXPECT_TRUE(name.size() == 7 || name == ".chainfs") << name;
    }
    for (const char* disk : {"x", "y", "z"}) {
      EXPECT_EQ(ChainOf(disk).size(), 1u);
      EXPECT_FALSE(Disk(disk)->read_only());
    }
  }
};

TEST_F(TransactionBackupTest, AllPointsInTimeAreOne) {
  for (int round = 0; round < 5; ++round) {
    SCOPED_TRACE(round);
    {
      const RisingWriter writer(Disk("x"), Disk("y"));
      jobs::WaitFor([&] { return writer.written() > 20; }, "some writes");
      const Status done =
          Transaction("x/backup/id=bx,then=hold;y/backup/id=by,target=t.qcow2,then=hold");
      ASSERT_TRUE(done) << done.error().message;
      const uint64_t before = writer.written();
      jobs::WaitFor([&] { return writer.written() > before + 20; }, "writes meanwhile");
    }
    WaitReady("x", "bx");
    WaitReady("y", "by");
    ASSERT_TRUE(catalog_->Rescan());
    {
      const DiskPtr x = Disk("x@bx");
      const DiskPtr y = Disk("y@by");
      const uint64_t on_x = RisingWriter::Shown(x);
      const uint64_t on_y = RisingWriter::Shown(y);
      EXPECT_GE(on_y, 20u);
      // y is written after x.
      EXPECT_TRUE(on_x == on_y || on_x == on_y + 1) << on_x << " and " << on_y;
      EXPECT_EQ(RisingWriter::Shown(Disk("t")), on_y);
    }
    EXPECT_GT(RisingWriter::Shown(Disk("x")), 40u);
    EXPECT_TRUE(Records("group-").empty());
    for (const auto& [disk, id] : {std::pair{"x", "bx"}, std::pair{"y", "by"}}) {
      ASSERT_TRUE(jobs_->Complete(Disk(disk), id, {}));
      EndsWell(disk, id);
      ASSERT_TRUE(jobs_->Dismiss(Disk(disk), id));
    }
    ASSERT_TRUE(std::filesystem::remove(At("t.qcow2")));
    ASSERT_TRUE(catalog_->Rescan());
  }
}

TEST_F(TransactionBackupTest, ASnapshotIsOfTheSameMoment) {
  {
    const RisingWriter writer(Disk("x"), Disk("y"));
    jobs::WaitFor([&] { return writer.written() > 20; }, "some writes");
    ASSERT_TRUE(Transaction("x/snapshot;y/backup/id=by,then=hold"));
  }
  const uint64_t on_y = RisingWriter::Shown(Disk("y@by"));
  std::string frozen_name;
  for (const DiskPtr& disk : catalog_->Disks()) {
    if (disk->chain()->active->name == "x.qcow2") frozen_name = disk->name();
  }
  const uint64_t of_snapshot = RisingWriter::Shown(Disk(frozen_name));
  EXPECT_TRUE(of_snapshot == on_y || of_snapshot == on_y + 1) << of_snapshot << " and " << on_y;
  WaitReady("y", "by");
  ASSERT_TRUE(jobs_->Complete(Disk("y"), "by", {}));
  EndsWell("y", "by");
}

TEST_F(TransactionBackupTest, WhenOneIsRefusedNothingHasHappened) {
  // Told before anything is done; by the second job; when its target is made; by a snapshot whose
  // place the overlay of a point has taken.
  EXPECT_FALSE(Transaction("x/backup/target=t.qcow2;y/backup/target=x.qcow2"));
  EXPECT_FALSE(Transaction("x/backup/target=t.qcow2,id=b;y/backup/target=u.qcow2,id=b"));
  {
    const std::ofstream in_the_way(At(".u.qcow2.by.part"));
  }
  EXPECT_FALSE(Transaction("x/backup/target=t.qcow2;y/backup/target=u.qcow2,id=by"));
  std::filesystem::remove(At(".u.qcow2.by.part"));
  EXPECT_FALSE(
      Transaction("z/snapshot/target=x.bx.qcow2;x/backup/target=t.qcow2,id=bx;y/backup/then=hold"));
  EXPECT_FALSE(Transaction("x/backup/target=t.qcow2;x/snapshot"));
  EXPECT_FALSE(Transaction("x/backup/target=t.qcow2;x/backup/then=hold"));
  EXPECT_TRUE(jobs_->Jobs("").empty());
  ExpectNothingHappened();
}

TEST_F(TransactionBackupTest, AFileThatIsCalledLikeTheVerbIsNotInTheWay) {
  Create("x.backup.qcow2", 8 * kMiB);
  ASSERT_TRUE(catalog_->Rescan());
  const Status done = Transaction("x/backup/then=hold");
  ASSERT_TRUE(done) << done.error().message;
  const std::string id = jobs_->Jobs("x").front().id;
  ASSERT_TRUE(jobs_->Cancel(Disk("x"), id));
  WaitEnd("x", id);
}

TEST_F(TransactionBackupTest, ADryRunLooksAtThePointsToo) {
  EXPECT_TRUE(Transaction("x/backup/target=t.qcow2;y/backup/then=hold", true));
  EXPECT_FALSE(Transaction("x/backup/target=t.qcow2;x/snapshot", true));
  jobs::WaitFor(
      [&] {
        return std::ranges::all_of(jobs_->Jobs(""), [](const JobInfo& job) {
          return job.status == JobStatus::kConcluded;
        });
      },
      "the estimates");
  ExpectNothingHappened();
}

}  // namespace
}  // namespace chainfs::control
