// SPDX-License-Identifier: Apache-2.0
//
// Nodes follow the disks. Nothing is sent to a kernel: there is no session.
#include "fusefs/disk_presenter.h"

#include "jobs/engine/event_log.h"
#include "tests/unit/fusefs/served_fixture.h"

namespace chainfs::fusefs {
namespace {

class DiskPresenterTest : public ServedDiskTest {
 protected:
  void SetUp() override {
    ServedDiskTest::SetUp();
    attributes_ = std::make_unique<NodeAttributes>(options_);
    events_ = std::make_unique<EventsFile>(log_);
    watcher_ = std::make_unique<control::SourceWatcher>(*catalog_, [] {});
    presenter_ = std::make_unique<DiskPresenter>(inodes_, *attributes_, invalidator_, loops_,
                                                 *watcher_, *events_, 4);
  }
  void TearDown() override {
    presenter_->DiskRemoved(*served_->disk);
    presenter_.reset();
    watcher_.reset();
    ServedDiskTest::TearDown();
  }

  Options options_;
  jobs::EventLog log_;
  InodeTable inodes_;
  Invalidator invalidator_;
  LoopTeller loops_;
  std::unique_ptr<NodeAttributes> attributes_;
  std::unique_ptr<EventsFile> events_;
  std::unique_ptr<control::SourceWatcher> watcher_;
  std::unique_ptr<DiskPresenter> presenter_;
};

TEST_F(DiskPresenterTest, ADiskHasAFileAndAMapWhileItIsThere) {
  EXPECT_EQ(inodes_.FindByName(NodeKind::kRoot, "vm.raw"), nullptr);
  presenter_->DiskAdded(served_);
  const NodePtr node = inodes_.FindByName(NodeKind::kRoot, "vm.raw");
  ASSERT_NE(node, nullptr);
  EXPECT_EQ(node->served, served_);
  const NodePtr map = inodes_.FindByName(NodeKind::kMapDirectory, "vm.json");
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(map->served, nullptr) << "what is refused on the map is not refused on the disk";
  presenter_->DiskAdded(served_);
  EXPECT_EQ(inodes_.FindByName(NodeKind::kRoot, "vm.raw"), node) << "told twice, there once";
  presenter_->DiskRemoved(*served_->disk);
  presenter_->DiskRemoved(*served_->disk);
  EXPECT_EQ(inodes_.FindByName(NodeKind::kRoot, "vm.raw"), nullptr);
}

TEST_F(DiskPresenterTest, ChangesOfWhatIsNotShownAreNobodysBusiness) {
  presenter_->AttributesChanged(*served_->disk);
  presenter_->ContentsChanged(*served_->disk);
  presenter_->AnnounceChangedModes();
  EXPECT_TRUE(inodes_.List(NodeKind::kRoot).empty());
}

TEST_F(DiskPresenterTest, ChangesInMemoryAreThoseOfWriters) {
  EXPECT_TRUE(presenter_->TakeInChanges(*served_->disk, 0)) << "it is not shown";
  presenter_->DiskAdded(served_);
  EXPECT_TRUE(presenter_->TakeInChanges(*served_->disk, 0)) << "nobody writes";
  const DiskAccess::Ticket writer = served_->disk->access().CountWriter();
  const Status taken = presenter_->TakeInChanges(*served_->disk, 0);
  ASSERT_FALSE(taken) << "there is no session by which they would come";
  EXPECT_EQ(taken.error().kind, ErrorKind::kBusy);
  // Whoever asks would wait for itself.
  DiskPresenter alone(inodes_, *attributes_, invalidator_, loops_, *watcher_, *events_, 1);
  const Status waited = alone.TakeInChanges(*served_->disk, 0);
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().kind, ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace chainfs::fusefs
