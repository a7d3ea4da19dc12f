// SPDX-License-Identifier: Apache-2.0
//
// Images that keep their data in an external data file, as a whole.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/check.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "tests/support/command.h"
#include "tests/support/image_model.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;
using Log = std::vector<std::string>;

constexpr uint64_t kCluster = 4096;
constexpr uint64_t kSize = 64 * kCluster;

Bytes Filled(uint64_t length, uint8_t value) { return Bytes(length, std::byte{value}); }
bool HasPunch(const Log& log) { return std::ranges::find(log, "punch d.raw") != log.end(); }

class ExternalDataTest : public ::testing::Test {
 protected:
  void Make(const std::string& more = "") {
    const TempDir dir;
    const CommandResult made =
        RunCommand({"qemu-img", "create", "-q", "-f", "qcow2", "-o",
                    "cluster_size=4k,data_file=d.raw" + more, "a.qcow2", std::to_string(kSize)},
                   {.working_directory = dir.path()});
    ASSERT_TRUE(made.ok()) << made.Describe();
    ASSERT_TRUE(host_->ImportFrom(dir.path()));
    Open();
  }
  void Open() {
    image_.reset();
    Result<std::unique_ptr<WritableImage>> opened = TryOpen(true);
    ASSERT_TRUE(opened) << opened.error().message;
    image_ = *std::move(opened);
  }
  Result<std::unique_ptr<WritableImage>> TryOpen(bool permitted) {
    auto file = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ImageOpenOptions options{.owner = cache_.NewOwner()};
    if (permitted) {
      options.open_data_file = [&](const std::string& name) {
        return host_->OpenRoot()->Open(name, OpenMode::kReadWrite);
      };
    }
    return OpenQcow2Image(*std::move(file), cache_, options);
  }
  // Changes of the two files and their syncs from now on.
  void StartLog() {
    host_->SetHook([this](const HostCall& call) {
      const MutexLock lock(log_mu_);
      if (call.op == HostOp::kWrite) log_.push_back("write " + call.name);
      if (call.op == HostOp::kPunch) log_.push_back("punch " + call.name);
      if (call.op == HostOp::kDataSync) log_.push_back("sync " + call.name);
      return 0;
    });
  }
  Log TakeLog() {
    const MutexLock lock(log_mu_);
    return std::exchange(log_, {});
  }
  Bytes DataAt(uint64_t offset, uint64_t length) {
    const Bytes all = host_->Contents("d.raw");
    Bytes part(length);
    for (uint64_t i = 0; i < length && offset + i < all.size(); ++i) part[i] = all[offset + i];
    return part;
  }
  void Write(uint64_t offset, const Bytes& data) {
    ASSERT_TRUE(image_->Write(GuestOffset(offset), data, nullptr));
  }
  void ExpectSound() {
    const auto report = CheckQcow2(image_->file());
    ASSERT_TRUE(report);
    EXPECT_EQ(report->corruptions, 0u) << report->messages.front();
    EXPECT_EQ(report->leaks, 0u);
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{1 << 20};
  std::unique_ptr<WritableImage> image_;

 private:
  Mutex log_mu_;
  Log log_ GUARDED_BY(log_mu_);
};

TEST_F(ExternalDataTest, DataLiesAtItsGuestOffsetAndIsNotCounted) {
  Make();
  Write(0, Filled(512, 1));
  Write(5 * kCluster + 512, Filled(2 * kCluster, 2));
  EXPECT_EQ(DataAt(0, 512), Filled(512, 1));
  EXPECT_EQ(DataAt(5 * kCluster + 512, 2 * kCluster), Filled(2 * kCluster, 2));
  const Result<Extent> first = image_->Map(GuestOffset(0), 512, MapDetail::kFast);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->kind, ExtentKind::kData);
  EXPECT_EQ(first->source, 1);
  EXPECT_EQ(first->host, HostOffset(0));
  EXPECT_EQ(image_->source(1).path(), "/mem/d.raw");
  EXPECT_FALSE(image_->compression());
  ASSERT_TRUE(image_->Close());
  ExpectSound();
}

TEST_F(ExternalDataTest, IsRefusedWhereNobodyPermitsIt) {
  Make();
  const auto refused = TryOpen(false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  EXPECT_TRUE(refused.error().message.contains("external data file")) << refused.error().message;
}

TEST_F(ExternalDataTest, TheDataIsDurableBeforeAnythingNamesIt) {
  Make();
  Write(0, Filled(kCluster, 1));
  ASSERT_TRUE(image_->Flush());
  StartLog();
  Write(kCluster, Filled(kCluster, 1));
  ASSERT_TRUE(image_->Flush());
  EXPECT_EQ(TakeLog(),
            (Log{"write d.raw", "sync d.raw", "sync a.qcow2", "write a.qcow2", "sync a.qcow2"}));
}

TEST_F(ExternalDataTest, AFailedSyncOfTheDataFileEndsAllWriting) {
  Make();
  Write(0, Filled(kCluster, 1));
  host_->AddFault({.matches = On(HostOp::kDataSync, "d.raw")});
  EXPECT_FALSE(image_->Flush());
  host_->ClearFaults();
  EXPECT_FALSE(image_->Flush());
  EXPECT_FALSE(image_->writable());
  EXPECT_TRUE(image_->poisoned());
}

TEST_F(ExternalDataTest, WhatIsDiscardedIsPunchedOnlyAfterwards) {
  Make();
  Write(0, Filled(4 * kCluster, 1));
  ASSERT_TRUE(image_->Flush());
  StartLog();
  ASSERT_TRUE(image_->Discard(GuestOffset(0), 4 * kCluster));
  // This one is in use again before its place could be given back.
  Write(kCluster, Filled(512, 2));
  EXPECT_FALSE(HasPunch(TakeLog()));
  for (int i = 0; i < 4 && image_->HasPending(); ++i) ASSERT_TRUE(image_->Flush());
  EXPECT_FALSE(image_->HasPending());
  EXPECT_TRUE(HasPunch(TakeLog()));
  EXPECT_EQ(DataAt(0, kCluster), Filled(kCluster, 0));
  EXPECT_EQ(DataAt(kCluster, 512), Filled(512, 2));
  EXPECT_EQ(DataAt(2 * kCluster, 2 * kCluster), Filled(2 * kCluster, 0));
}

TEST_F(ExternalDataTest, AReaderKeepsThePlacesOfWhatIsUnpopulated) {
  Make();
  Write(0, Filled(2 * kCluster, 1));
  ASSERT_TRUE(image_->Flush());
  {
    const IoEpoch::Guard guard = image_->io_epoch().Enter();
    ASSERT_TRUE(image_->Unpopulate(GuestOffset(0), kCluster));
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(image_->Flush());
    EXPECT_EQ(DataAt(0, kCluster), Filled(kCluster, 1));
    // Mapped and let go of again: the first time does not count any more.
    Write(0, Filled(kCluster, 3));
    ASSERT_TRUE(image_->Flush());
  }
  ASSERT_TRUE(image_->Unpopulate(GuestOffset(0), kCluster));
  EXPECT_EQ(DataAt(0, kCluster), Filled(kCluster, 3));
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(image_->Flush());
  EXPECT_EQ(DataAt(0, kCluster), Filled(kCluster, 0));
}

TEST_F(ExternalDataTest, TheFileFollowsTheSizeOfTheDisk) {
  Make();
  Write(kSize - kCluster, Filled(kCluster, 1));
  ASSERT_TRUE(image_->Grow(kSize + 512, nullptr, 0));
  EXPECT_EQ(host_->Contents("d.raw").size(), kSize + 512);
  Write(kSize, Filled(512, 2));
  EXPECT_EQ(host_->Contents("d.raw").size(), kSize + 512) << "nothing is filled behind the disk";
  ASSERT_TRUE(image_->Shrink(kSize - 2 * kCluster));
  EXPECT_EQ(host_->Contents("d.raw").size(), kSize - 2 * kCluster);
  ASSERT_TRUE(image_->Grow(kSize, nullptr, 0));
  const auto shown = ReadWholeImage(*image_, nullptr);
  ASSERT_TRUE(shown);
  EXPECT_EQ(*shown, Filled(kSize, 0));
  ASSERT_TRUE(image_->Close());
  ExpectSound();
}

TEST_F(ExternalDataTest, ARawOneIsTheDiskByItself) {
  Make(",data_file_raw=on");
  const auto expect_same = [&] {
    const auto shown = ReadWholeImage(*image_, nullptr);
    ASSERT_TRUE(shown);
    EXPECT_EQ(Difference(*shown, host_->Contents("d.raw")), "");
  };
  Write(0, Filled(kSize, 1));
  ASSERT_TRUE(image_->WriteZeroes(GuestOffset(100), 3 * kCluster, true, nullptr));
  expect_same();
  ASSERT_TRUE(image_->WriteZeroes(GuestOffset(5 * kCluster), 3 * kCluster, false, nullptr));
  ASSERT_TRUE(image_->Discard(GuestOffset(9 * kCluster + 1), 3 * kCluster));
  expect_same();
  EXPECT_EQ(DataAt(9 * kCluster, kCluster), Filled(kCluster, 1));
  EXPECT_EQ(DataAt(10 * kCluster, 2 * kCluster), Filled(2 * kCluster, 0));
  ASSERT_TRUE(image_->Grow(kSize + 3 * kCluster + 512, nullptr, 0));
  expect_same();
  const auto grown = image_->Map(GuestOffset(kSize), 512, MapDetail::kFast);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->kind, ExtentKind::kData) << "mapped at once";
  EXPECT_FALSE(image_->CanSetBacking(BackingReference{.name = "b.raw", .format = "raw"}));
  ASSERT_TRUE(image_->Close());
  ExpectSound();
  const Result<qcow2::Qcow2Header> header = qcow2::ReadQcow2Header(image_->file());
  ASSERT_TRUE(header);
  EXPECT_TRUE(header->has_raw_data_file()) << "the mark stays";
}

TEST_F(ExternalDataTest, AnotherPlaceThanTheGuestOffsetIsCorrupt) {
  Make();
  Write(0, Filled(2 * kCluster, 1));
  ASSERT_TRUE(image_->Close());
  Bytes bytes = host_->Contents("a.qcow2");
  const auto get = [&](uint64_t at) { return LoadBigEndian<uint64_t>(bytes.data() + at); };
  const uint64_t table = get(get(qcow2::kOffsetL1Table)) & qcow2::kEntryOffsetMask;
  StoreBigEndian(bytes.data() + table + 8, qcow2::kEntryCopied | 7 * kCluster);
  image_.reset();
  host_->PutFile("a.qcow2", bytes);
  Open();
  EXPECT_TRUE(image_->Map(GuestOffset(0), 512, MapDetail::kFast));
  const auto wrong = image_->Map(GuestOffset(kCluster), 512, MapDetail::kFast);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().kind, ErrorKind::kCorrupt);
}

TEST_F(ExternalDataTest, BothFilesHaveTheLocksOfTheImage) {
  Make();
  ASSERT_TRUE(image_->SetImageLocks(kActiveLayerLocks));
  const auto other = host_->OpenRoot()->Open("d.raw", OpenMode::kReadWrite);
  ASSERT_TRUE(other);
  EXPECT_FALSE((*other)->SetImageLocks(DataFileLocks(kActiveLayerLocks)));
  ASSERT_TRUE(image_->SetImageLocks(kNoLocks));
  ASSERT_TRUE((*other)->SetImageLocks(DataFileLocks(kActiveLayerLocks)));
  EXPECT_FALSE(image_->SetImageLocks(kActiveLayerLocks));
  const auto third = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
  ASSERT_TRUE(third);
  EXPECT_TRUE((*third)->SetImageLocks(kActiveLayerLocks)) << "the image keeps none either";
}

}  // namespace
}  // namespace chainfs
