// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/bitmap_directory.h"

#include <gtest/gtest.h>

#include <functional>

#include "blocklayer/base/endian.h"
#include "tests/support/mem_host.h"

namespace chainfs::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;

StoredBitmap Sample(const std::string& name, uint64_t cluster) {
  StoredBitmap bitmap;
  bitmap.name = name;
  bitmap.table = HostOffset(cluster << 16);
  bitmap.table_entries = 1;
  bitmap.flags = kBitmapAuto;
  return bitmap;
}

class BitmapDirectoryTest : public ::testing::Test {
 protected:
  Result<std::vector<StoredBitmap>> Read(const Bytes& directory, uint32_t count) {
    Bytes image(1 << 16);
    image.insert(image.end(), directory.begin(), directory.end());
    const auto host = MemHost::Create();
    host->PutFile("a", image);
    const auto file = host->OpenRoot()->Open("a", OpenMode::kReadOnly).value();
    Qcow2Header header;
    header.size = 64 << 20;
    header.has_bitmaps = true;
    header.bitmap_count = count;
    header.bitmap_directory = HostOffset(1 << 16);
    header.bitmap_directory_bytes = directory.size();
    return ReadBitmapDirectory(*file, header);
  }
  const Geometry geometry_ = Qcow2Header().geometry();
};

TEST_F(BitmapDirectoryTest, ReadsWhatItWrites) {
  std::vector<StoredBitmap> bitmaps = {Sample("a", 3), Sample(std::string(1023, 'n'), 4)};
  bitmaps[0].extra = Bytes(13, std::byte{5});
  bitmaps[1].flags = kBitmapInUse;
  bitmaps[1].granularity_bits = 9;
  const auto read = Read(EncodeBitmapDirectory(bitmaps), 2);
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->size(), 2u);
  EXPECT_EQ((*read)[0].name, "a");
  EXPECT_EQ((*read)[0].extra, bitmaps[0].extra);
  EXPECT_TRUE((*read)[0].enabled());
  EXPECT_EQ((*read)[1].name, bitmaps[1].name);
  EXPECT_TRUE((*read)[1].in_use());
  EXPECT_EQ((*read)[1].place, 40u);
  EXPECT_EQ((*read)[1].table, bitmaps[1].table);
}

TEST_F(BitmapDirectoryTest, WhatIsBroken) {
  const Bytes good = EncodeBitmapDirectory(std::vector{Sample("a", 3), Sample("b", 4)});
  const auto broken = [&](const std::function<void(Bytes&)>& change, uint32_t count = 2) {
    Bytes bytes = good;
    change(bytes);
    const auto read = Read(bytes, count);
    EXPECT_FALSE(read);
    return read ? std::string() : read.error().message;
  };
  EXPECT_TRUE(broken([](Bytes&) {}, 3).contains("entry 2 is missing"));
  EXPECT_TRUE(broken([](Bytes&) {}, 1).contains("is not the last one"));
  EXPECT_TRUE(broken([](Bytes& b) { StoreBigEndian(&b[18], uint16_t{0}); }).contains("0 bytes"));
  EXPECT_TRUE(broken([](Bytes& b) { StoreBigEndian(&b[18], uint16_t{1024}); }).contains("1024"));
  EXPECT_TRUE(
      broken([](Bytes& b) { StoreBigEndian(&b[20], UINT32_MAX); }).contains("passes its end"));
  EXPECT_TRUE(broken([](Bytes& b) { StoreBigEndian(&b[0], uint64_t{513}); }).contains("0x201"));
  EXPECT_TRUE(broken([](Bytes& b) { StoreBigEndian(&b[0], uint64_t{0}); }).contains("0x0"));
  EXPECT_TRUE(broken([](Bytes& b) { StoreBigEndian(&b[8], uint32_t{0}); }).contains("0 entries"));
  EXPECT_TRUE(broken([](Bytes& b) { StoreBigEndian(&b[8], uint32_t{8193}); }).contains("8193"));
  EXPECT_TRUE(broken([](Bytes& b) { b[24] = std::byte{'b'}; }).contains("name that was used"));
}

TEST_F(BitmapDirectoryTest, WhatIsUnusableAlone) {
  const auto why = [&](const std::function<void(StoredBitmap&)>& change) {
    StoredBitmap bitmap = Sample("a", 3);
    change(bitmap);
    return WhyUnusable(bitmap, geometry_, 64 << 20);
  };
  EXPECT_EQ(why([](StoredBitmap&) {}), "");
  EXPECT_EQ(why([](StoredBitmap& b) { b.flags |= 8; }), "unknown flags 0xa");
  EXPECT_EQ(why([](StoredBitmap& b) { b.type = 2; }), "unknown type 2");
  EXPECT_NE(why([](StoredBitmap& b) { b.granularity_bits = 8; }), "");
  EXPECT_NE(why([](StoredBitmap& b) { b.granularity_bits = 32; }), "");
  EXPECT_NE(why([](StoredBitmap& b) { b.granularity_bits = 255; }), "");
  EXPECT_NE(why([](StoredBitmap& b) { b.extra = Bytes(1); }), "");
  EXPECT_EQ(why([](StoredBitmap& b) {
              b.extra = Bytes(1);
              b.flags |= kBitmapExtraCompatible;
            }),
            "");
  EXPECT_NE(why([](StoredBitmap& b) { b.name = std::string(3, '\0'); }), "");
  EXPECT_NE(why([](StoredBitmap& b) { b.table_entries = 2; }), "");
  EXPECT_EQ(why([](StoredBitmap& b) {
              b.table_entries = 2;
              b.flags |= kBitmapInUse;
            }),
            "");
}

TEST_F(BitmapDirectoryTest, AClusterOfBitsPerEntry) {
  EXPECT_EQ(BitmapTableEntries(geometry_, 16, 0), 0u);
  EXPECT_EQ(BitmapTableEntries(geometry_, 16, 1), 1u);
  EXPECT_EQ(BitmapTableEntries(geometry_, 16, 32ull << 30), 1u);
  EXPECT_EQ(BitmapTableEntries(geometry_, 16, (32ull << 30) + 512), 2u);
}

}  // namespace
}  // namespace chainfs::qcow2
