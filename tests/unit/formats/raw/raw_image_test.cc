// SPDX-License-Identifier: Apache-2.0
//
// Raw images: the file is the disk, rounded up to whole sectors.
#include "blocklayer/formats/raw/raw_image.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "blocklayer/formats/raw/create.h"
#include "blocklayer/io/posix.h"
#include "tests/support/mem_host.h"
#include "tests/support/random.h"
#include "tests/support/temp_dir.h"

namespace chainfs::raw {
namespace {

using Buffer = std::vector<std::byte>;

class RawImageTest : public testing::Test {
 protected:
  std::unique_ptr<WritableImage> Open(uint64_t size, bool read_only = false) {
    host_->PutFile("a.raw", Buffer(size, std::byte{1}));
    return OpenRawImage(directory_->Open("a.raw", OpenMode::kReadWrite).value(), read_only).value();
  }
  Buffer Contents() { return host_->Contents("a.raw"); }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  std::unique_ptr<Directory> directory_ = host_->OpenRoot();
};

TEST_F(RawImageTest, SizeIsRoundedUpAndTheTailIsZeros) {
  const auto image = Open(1000);
  EXPECT_EQ(image->virtual_size(), 1024u);
  EXPECT_EQ(image->format(), ImageFormat::kRaw);
  EXPECT_FALSE(image->backing());
  const Extent extent = image->Map(GuestOffset(0), 1024, MapDetail::kFast).value();
  EXPECT_EQ(extent.kind, ExtentKind::kData);
  EXPECT_EQ(extent.length, 1024u);
  Buffer read(1024, std::byte{9});
  ASSERT_TRUE(image->file().ReadZeroFilled(extent.host, read));
  EXPECT_EQ(read[999], std::byte{1});
  EXPECT_EQ(read[1000], std::byte{0});
  EXPECT_EQ(image->Map(GuestOffset(1000), 25, MapDetail::kFast).error().kind,
            ErrorKind::kInvalidArgument);
}

TEST_F(RawImageTest, ANewImageIsDurableAndAllZeros) {
  host_->StartRecording();
  ASSERT_TRUE(CreateRaw(*directory_, "new.raw", 3 << 20, 0600));
  const auto recording = host_->StopRecording();
  ASSERT_GE(recording->events.size(), 2u);
  EXPECT_EQ(recording->events.back().op, HostOp::kDirectorySync);
  EXPECT_EQ(host_->Contents("new.raw"), Buffer(3 << 20));
  EXPECT_EQ(CreateRaw(*directory_, "new.raw", 512, 0600).error().kind, ErrorKind::kExists);
  EXPECT_EQ(host_->Contents("new.raw").size(), size_t{3} << 20);
}

TEST_F(RawImageTest, ANewImageThatCannotBeMadeLeavesNothing) {
  for (const HostOp op : {HostOp::kTruncate, HostOp::kDataSync, HostOp::kDirectorySync}) {
    host_->SetHook([op](const HostCall& call) { return call.op == op ? ENOSPC : 0; });
    EXPECT_EQ(CreateRaw(*directory_, "new.raw", 512, 0600).error().kind, ErrorKind::kNoSpace);
    host_->SetHook({});
    EXPECT_EQ(directory_->List()->size(), 0u);
  }
}

TEST_F(RawImageTest, WritesReachIntoTheRoundedTail) {
  const auto image = Open(1000);
  ASSERT_TRUE(image->Write(GuestOffset(990), Buffer(34, std::byte{7}), nullptr));
  EXPECT_EQ(Contents().size(), 1024u);
  EXPECT_EQ(image->virtual_size(), 1024u);
  EXPECT_EQ(image->Write(GuestOffset(1024), Buffer(1), nullptr).error().kind,
            ErrorKind::kInvalidArgument);
}

TEST_F(RawImageTest, PreciseMapFindsHolesOnTheRealHost) {
  const TempDir temp;
  const auto directory = OpenPosixDirectory(temp.path()).value();
  auto file = directory->Create("a.raw", 0644).value();
  ASSERT_TRUE(file->Truncate((1 << 20) + 100));
  ASSERT_TRUE(file->WriteAt(HostOffset(256 << 10), Buffer(64 << 10, std::byte{3})));
  ASSERT_TRUE(file->WriteAt(HostOffset((1 << 20) + 50), Buffer(50, std::byte{3})));
  const auto image = OpenRawImage(std::move(file), false).value();
  ASSERT_EQ(image->virtual_size(), (1u << 20) + 512);

  Buffer shown(image->virtual_size());
  uint64_t zeros = 0;
  for (uint64_t at = 0; at < shown.size();) {
    const Extent extent =
        image->Map(GuestOffset(at), shown.size() - at, MapDetail::kPrecise).value();
    ASSERT_GT(extent.length, 0u);
    ASSERT_EQ(extent.length % 512, 0u);
    if (extent.kind == ExtentKind::kZero) {
      zeros += extent.length;
    } else {
      ASSERT_EQ(extent.kind, ExtentKind::kData);
      ASSERT_TRUE(
          image->file().ReadZeroFilled(extent.host, std::span(shown).subspan(at, extent.length)));
    }
    at += extent.length;
  }
  EXPECT_GE(zeros, 256u << 10);
  for (uint64_t i = 0; i < shown.size(); ++i) {
    const bool data =
        (i >= (256 << 10) && i < (320 << 10)) || (i >= (1 << 20) + 50 && i < (1 << 20) + 100);
    ASSERT_EQ(shown[i], data ? std::byte{3} : std::byte{0}) << i;
  }
}

TEST_F(RawImageTest, PreciseMapAtOddOffsetsKeepsToSectors) {
  host_->PutFile("b.raw", {});
  auto file = directory_->Open("b.raw", OpenMode::kReadWrite).value();
  ASSERT_TRUE(file->WriteAt(HostOffset(8192), Buffer(100, std::byte{1})));
  const auto image = OpenRawImage(std::move(file), false).value();
  const Extent hole = image->Map(GuestOffset(13), 8600, MapDetail::kPrecise).value();
  EXPECT_EQ(hole.kind, ExtentKind::kZero);
  EXPECT_EQ(hole.length, 8192u - 13);
  const Extent data = image->Map(GuestOffset(8193), 511, MapDetail::kPrecise).value();
  EXPECT_EQ(data.kind, ExtentKind::kData);
  EXPECT_EQ(data.length, 511u);
}

TEST_F(RawImageTest, ZeroAndDiscardGiveSpaceBack) {
  const auto image = Open(1 << 20);
  ASSERT_TRUE(image->WriteZeroes(GuestOffset(0), 4096, true, nullptr));
  const uint64_t before = image->AllocatedBytes().value();
  ASSERT_TRUE(image->WriteZeroes(GuestOffset(4096), 8192, false, nullptr));
  ASSERT_TRUE(image->Discard(GuestOffset(65536), 65536));
  EXPECT_EQ(image->AllocatedBytes().value(), before - 8192 - 65536);
  const Buffer now = Contents();
  EXPECT_EQ(now[0], std::byte{0});
  EXPECT_EQ(now[12287], std::byte{0});
  EXPECT_EQ(now[12288], std::byte{1});
  EXPECT_EQ(now[65536], std::byte{0});
  EXPECT_EQ(now.size(), 1u << 20);
}

TEST_F(RawImageTest, TakesAFileWithoutReadingIt) {
  const auto image = Open(16 << 10);
  host_->PutFile("b.raw", Buffer(8 << 10, std::byte{5}));
  const auto source = directory_->Open("b.raw", OpenMode::kReadOnly).value();
  ASSERT_TRUE(image->WriteFromFile(GuestOffset(4096), 4096, *source, HostOffset(4096)));
  EXPECT_EQ(Contents()[4095], std::byte{1});
  EXPECT_EQ(Contents()[4096], std::byte{5});
  EXPECT_EQ(Contents()[8191], std::byte{5});
  EXPECT_EQ(Contents()[8192], std::byte{1});
  const Status early = image->WriteFromFile(GuestOffset(0), 8192, *source, HostOffset(4096));
  EXPECT_EQ(early.error().kind, ErrorKind::kUnsupported);
  const Status late = image->WriteFromFile(GuestOffset(12288), 8192, *source, HostOffset(0));
  EXPECT_EQ(late.error().kind, ErrorKind::kInvalidArgument);
}

TEST_F(RawImageTest, HostsThatCannotPunchStillZero) {
  host_ = MemHost::Create({.can_punch = false});
  directory_ = host_->OpenRoot();
  const auto image = Open(65536);
  EXPECT_TRUE(image->Discard(GuestOffset(0), 4096));
  EXPECT_EQ(Contents()[0], std::byte{1});
  EXPECT_TRUE(image->WriteZeroes(GuestOffset(0), 4096, false, nullptr));
  EXPECT_EQ(Contents()[0], std::byte{0});
}

TEST_F(RawImageTest, GrowsAndShrinks) {
  const auto image = Open(1000);
  EXPECT_EQ(image->Grow(512, nullptr, 0).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(image->Grow(1500, nullptr, 0).error().kind, ErrorKind::kInvalidArgument);
  ASSERT_TRUE(image->Grow(8192, nullptr, 0));
  EXPECT_EQ(image->virtual_size(), 8192u);
  EXPECT_EQ(Contents().size(), 8192u);
  EXPECT_EQ(Contents()[1000], std::byte{0});
  EXPECT_EQ(image->Shrink(8704).error().kind, ErrorKind::kInvalidArgument);
  EXPECT_EQ(image->Shrink(100).error().kind, ErrorKind::kInvalidArgument);
  ASSERT_TRUE(image->Shrink(512));
  EXPECT_EQ(image->virtual_size(), 512u);
  EXPECT_EQ(Contents().size(), 512u);
  EXPECT_EQ(image->Map(GuestOffset(512), 512, MapDetail::kFast).error().kind,
            ErrorKind::kInvalidArgument);
  host_->AddFault({.matches = On(HostOp::kTruncate)});
  EXPECT_FALSE(image->Shrink(0));
  EXPECT_EQ(image->virtual_size(), 512u);
}

TEST_F(RawImageTest, AFailedFlushMakesItReadOnlyForGood) {
  const auto image = Open(4096);
  ASSERT_TRUE(image->writable());
  host_->AddFault({.matches = On(HostOp::kDataSync)});
  EXPECT_FALSE(image->Flush());
  EXPECT_FALSE(image->Flush());
  EXPECT_FALSE(image->writable());
  EXPECT_NE(image->read_only_reason(), "");
  EXPECT_EQ(image->Write(GuestOffset(0), Buffer(1), nullptr).error().kind, ErrorKind::kReadOnly);
}

TEST_F(RawImageTest, ReadOnlyNeverTouchesTheFile) {
  const auto image = Open(1000, true);
  EXPECT_FALSE(image->writable());
  EXPECT_EQ(image->Write(GuestOffset(0), Buffer(1), nullptr).error().kind, ErrorKind::kReadOnly);
  EXPECT_EQ(image->WriteZeroes(GuestOffset(0), 1, false, nullptr).error().kind,
            ErrorKind::kReadOnly);
  EXPECT_EQ(image->Discard(GuestOffset(0), 1).error().kind, ErrorKind::kReadOnly);
  EXPECT_EQ(image->Grow(2048, nullptr, 0).error().kind, ErrorKind::kReadOnly);
  host_->AddFault({.matches = IsMutation, .forever = true});
  EXPECT_TRUE(image->Flush());
  EXPECT_TRUE(image->Close());
  EXPECT_EQ(Contents(), Buffer(1000, std::byte{1}));
}

TEST_F(RawImageTest, IsAlwaysABase) {
  const auto image = Open(4096);
  const BackingReference backing{.name = "b.raw", .format = "raw"};
  EXPECT_EQ(image->CanSetBacking(backing).error().kind, ErrorKind::kUnsupported);
  EXPECT_EQ(image->SetBacking(backing).error().kind, ErrorKind::kUnsupported);
  // Everything is allocated, so populating changes nothing.
  EXPECT_TRUE(image->Populate(GuestOffset(0), Buffer(4096)));
  EXPECT_TRUE(image->PopulateZeroes(GuestOffset(0), 4096));
  EXPECT_EQ(Contents(), Buffer(4096, std::byte{1}));
}

TEST_F(RawImageTest, ClosedImagesTakeNoWrites) {
  const auto image = Open(4096);
  ASSERT_TRUE(image->Write(GuestOffset(0), Buffer(512), nullptr));
  ASSERT_TRUE(image->Close());
  ASSERT_TRUE(image->Close());
  EXPECT_FALSE(image->Write(GuestOffset(0), Buffer(512), nullptr));
}

}  // namespace
}  // namespace chainfs::raw
