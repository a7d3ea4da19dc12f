// SPDX-License-Identifier: Apache-2.0
//
// VHDX images beside qemu-img: those that it makes, damaged ones, and ones that lie.
#include <gtest/gtest.h>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/vhdx/crc32c.h"
#include "tests/format/foreign/foreign_images.h"

namespace chainfs {
namespace {

constexpr size_t kHeaders[] = {64 << 10, 128 << 10};
constexpr size_t kRegionTables[] = {192 << 10, 256 << 10};

void PutLittle32(std::vector<std::byte>& bytes, size_t at, uint32_t value) {
  const uint32_t raw = LittleEndian(value);
  std::memcpy(&bytes[at], &raw, sizeof raw);
}

class VhdxTest : public ForeignImages {
 protected:
  void MakeVhdx(uint64_t size, const std::string& options) {
    MakeRaw("disk.raw", size);
    Convert("disk.raw", "disk.vhdx", "vhdx", options);
  }
  static void MendOne(Bytes& bytes, size_t at, size_t length) {
    PutLittle32(bytes, at + 4, 0);
    PutLittle32(bytes, at + 4, vhdx::Crc32c(std::span(bytes).subspan(at, length)));
  }
  static void Mend(Bytes& bytes) {
    if (bytes.size() < 1 << 20) return;
    for (const size_t at : kHeaders) MendOne(bytes, at, 4096);
    for (const size_t at : kRegionTables) MendOne(bytes, at, 64 << 10);
  }
  // Of the region whose GUID begins with this byte.
  static uint64_t RegionAt(const Bytes& bytes, uint8_t guid) {
    const size_t entry = kRegionTables[0] + 16;
    const bool first = bytes[entry] == std::byte{guid};
    return LoadLittleEndian<uint64_t>(&bytes[entry + (first ? 0 : 32) + 16]);
  }
  static uint64_t BlockTableAt(const Bytes& bytes) { return RegionAt(bytes, 0x66); }
  static uint64_t MetadataAt(const Bytes& bytes) { return RegionAt(bytes, 0x06); }
  // Of the item whose GUID begins with this byte.
  static size_t ItemAt(const Bytes& bytes, uint8_t guid) {
    const uint64_t metadata = MetadataAt(bytes);
    for (size_t i = 1; i <= 5; ++i) {
      const std::byte* const entry = &bytes[metadata + i * 32];
      if (entry[0] == std::byte{guid}) return metadata + LoadLittleEndian<uint32_t>(entry + 16);
    }
    ADD_FAILURE() << "no such item";
    return metadata;
  }
};

TEST(Crc32cTest, IsThatOfCastagnoli) {
  EXPECT_EQ(vhdx::Crc32c(std::as_bytes(std::span(std::string_view("123456789")))), 0xe3069283U);
}

TEST_F(VhdxTest, ReadsWhatQemuImgMakes) {
  for (const uint64_t size :
       {uint64_t{512}, uint64_t{1} << 20, (uint64_t{5} << 20) + 1536, uint64_t{40} << 20}) {
    for (const char* options :
         {"subformat=dynamic", "subformat=fixed", "subformat=dynamic,block_size=1M",
          "subformat=dynamic,block_size=2M,block_state_zero=off",
          "subformat=dynamic,log_size=2M"}) {
      SCOPED_TRACE(options);
      MakeVhdx(size, options);
      ExpectLikeQemu("vhdx", "disk.vhdx");
    }
  }
}

TEST_F(VhdxTest, EntriesOfBitmapsAreSteppedOver) {
  // With blocks of 1 MiB there is one after each 4096.
  const uint64_t size = uint64_t{9} << 30;
  WriteTextFile(dir_ / "disk.raw", "");
  ASSERT_EQ(truncate((dir_ / "disk.raw").c_str(), static_cast<off_t>(size)), 0);
  std::fstream file(dir_ / "disk.raw", std::ios::in | std::ios::out | std::ios::binary);
  for (const uint64_t gib : {1U, 4U, 5U, 8U}) {
    file.seekp(static_cast<std::streamoff>((gib << 30) + 4096));
    file << "at " << gib << " GiB";
  }
  file.close();
  Convert("disk.raw", "disk.vhdx", "vhdx", "block_size=1M");
  const auto image = Open("vhdx", "disk.vhdx").value();
  ASSERT_EQ(image->virtual_size(), size);
  for (const uint64_t gib : {1U, 4U, 5U, 8U}) {
    const Extent extent = image->Map(GuestOffset((gib << 30) + 4096), 16, MapDetail::kFast).value();
    ASSERT_EQ(extent.kind, ExtentKind::kData) << gib;
    std::string read(8, '\0');
    ASSERT_TRUE(
        image->source(0).ReadZeroFilled(extent.host, std::as_writable_bytes(std::span(read))));
    EXPECT_EQ(read, "at " + std::to_string(gib) + " GiB");
  }
}

TEST_F(VhdxTest, DamagedOnesAreRefusedWithTheReason) {
  MakeVhdx(3 << 20, "block_size=1M");
  const Bytes sound = BytesOf("disk.vhdx");
  using enum ErrorKind;
  struct Case {
    const char* what;
    std::function<void(Bytes&)> damage;
    ErrorKind kind;
    const char* says;
    bool mend = true;
  };
  const auto both = [](std::function<void(Bytes&, size_t)> damage) {
    return [damage](Bytes& b) {
      for (const size_t at : kHeaders) damage(b, at);
    };
  };
  const std::vector<Case> cases = {
      {"empty", [](Bytes& b) { b.clear(); }, kInvalidFormat, "not a VHDX image"},
      {"magic", [](Bytes& b) { b[0] = {}; }, kInvalidFormat, "not a VHDX image"},
      {"headers", both([](Bytes& b, size_t at) { b[at + 100] = std::byte{1}; }), kCorrupt,
       "neither of its two headers", false},
      {"versions", both([](Bytes& b, size_t at) { b[at + 66] = std::byte{2}; }), kUnsupported,
       "version 2"},
      {"log", both([](Bytes& b, size_t at) { b[at + 50] = std::byte{1}; }), kUnsupported,
       "qemu-img check -r all"},
      {"place of the log", both([](Bytes& b, size_t at) { b[at + 79] = std::byte{1}; }), kCorrupt,
       "its log"},
      {"equal numbers", both([](Bytes& b, size_t at) {
         b[at + 8] = {};
         b[at + 30] = static_cast<std::byte>(at >> 16);
       }),
       kCorrupt, "of one age"},
      {"region table", [](Bytes& b) { b[kRegionTables[0] + 60000] = std::byte{1}; }, kCorrupt,
       "region table", false},
      {"regions", [](Bytes& b) { PutLittle32(b, kRegionTables[0] + 8, 2048); }, kCorrupt,
       "region table"},
      {"no regions", [](Bytes& b) { PutLittle32(b, kRegionTables[0] + 8, 0); }, kCorrupt,
       "no block table"},
      {"unknown region",
       [](Bytes& b) {
         b[kRegionTables[0] + 20] ^= std::byte{1};
         b[kRegionTables[0] + 44] = std::byte{1};
       },
       kUnsupported, "does not know"},
      {"region past the end", [](Bytes& b) { b[kRegionTables[0] + 38] = std::byte{1}; }, kCorrupt,
       "cut short"},
      {"regions that overlap",
       [](Bytes& b) { std::copy_n(&b[kRegionTables[0] + 32], 8, &b[kRegionTables[0] + 64]); },
       kCorrupt, "overlap"},
      {"cut", [](Bytes& b) { b.resize(2 << 20); }, kCorrupt, "cut short"},
      {"metadata", [](Bytes& b) { b[MetadataAt(b)] = {}; }, kCorrupt, "metadata table"},
      {"unknown item", [](Bytes& b) { b[MetadataAt(b) + 36] ^= std::byte{1}; }, kUnsupported,
       "does not know"},
      {"place of an item", [](Bytes& b) { PutLittle32(b, MetadataAt(b) + 48, 0xffffffff); },
       kCorrupt, "metadata are corrupt"},
      {"item missing", [](Bytes& b) { b[MetadataAt(b) + 10] = std::byte{4}; }, kCorrupt,
       "it has no"},
      {"parent", [](Bytes& b) { b[ItemAt(b, 0x37) + 4] |= std::byte{2}; }, kUnsupported,
       "differencing"},
      {"block size", [](Bytes& b) { PutLittle32(b, ItemAt(b, 0x37), 3 << 20); }, kCorrupt,
       "in blocks of"},
      {"block size 0", [](Bytes& b) { PutLittle32(b, ItemAt(b, 0x37), 0); }, kCorrupt,
       "in blocks of 0"},
      {"sectors", [](Bytes& b) { PutLittle32(b, ItemAt(b, 0x1d), 4096); }, kUnsupported,
       "sectors of 4096"},
      {"size", [](Bytes& b) { b[ItemAt(b, 0x24) + 7] = std::byte{1}; }, kCorrupt, "a disk of"},
      {"table too short", [](Bytes& b) { b[ItemAt(b, 0x24) + 5] = std::byte{16}; }, kCorrupt,
       "too short"},
  };
  for (const Case& bad : cases) {
    Bytes bytes = sound;
    bad.damage(bytes);
    if (bad.mend) Mend(bytes);
    Put("bad.vhdx", bytes);
    const auto image = Open("vhdx", "bad.vhdx");
    ASSERT_FALSE(image) << bad.what;
    EXPECT_EQ(image.error().kind, bad.kind) << bad.what << ": " << image.error().message;
    EXPECT_NE(image.error().message.find(bad.says), std::string::npos)
        << bad.what << ": " << image.error().message;
  }
}

TEST_F(VhdxTest, BlocksInImpossibleStatesOrPlacesAreErrorsWhereTheyAreRead) {
  MakeVhdx(3 << 20, "subformat=fixed,block_size=1M");
  const Bytes sound = BytesOf("disk.vhdx");
  const uint64_t entry = BlockTableAt(sound) + 8;
  // States of differencing images; the metadata; past the end.
  for (const uint64_t value : {uint64_t{4}, uint64_t{5}, uint64_t{7}, MetadataAt(sound) | 6,
                               uint64_t{0} | 6, (uint64_t{1} << 40) | 6, UINT64_MAX - 1}) {
    Bytes bytes = sound;
    PutLittle32(bytes, entry, static_cast<uint32_t>(value));
    PutLittle32(bytes, entry + 4, static_cast<uint32_t>(value >> 32));
    Put("bad.vhdx", bytes);
    const auto image = Open("vhdx", "bad.vhdx").value();
    EXPECT_EQ(image->Map(GuestOffset(0), 3 << 20, MapDetail::kFast)->length, 1U << 20);
    const auto bad = image->Map(GuestOffset(1 << 20), 512, MapDetail::kFast);
    ASSERT_FALSE(bad) << value;
    EXPECT_EQ(bad.error().kind, ErrorKind::kCorrupt);
    EXPECT_TRUE(image->Map(GuestOffset(2 << 20), 512, MapDetail::kFast));
  }
}

TEST_F(VhdxTest, TheHeaderThatWasWrittenLastCounts) {
  MakeVhdx(3 << 20, "");
  Bytes bytes = BytesOf("disk.vhdx");
  const auto sequence = [&](size_t at) { return LoadLittleEndian<uint64_t>(&bytes[at + 8]); };
  const size_t older = sequence(kHeaders[0]) < sequence(kHeaders[1]) ? kHeaders[0] : kHeaders[1];
  const size_t newer = older == kHeaders[0] ? kHeaders[1] : kHeaders[0];
  bytes[older + 50] = std::byte{1};
  Mend(bytes);
  Put("old_log.vhdx", bytes);
  EXPECT_TRUE(Open("vhdx", "old_log.vhdx"));
  bytes[newer + 100] = std::byte{1};  // torn
  Put("torn.vhdx", bytes);
  EXPECT_EQ(Open("vhdx", "torn.vhdx").error().kind, ErrorKind::kUnsupported) << "its log counts";
}

TEST_F(VhdxTest, MutatedHeadersAreRefusedOrReadAsQemuReadsThem) {
  MakeVhdx((3 << 20) + 512, "block_size=1M");
  const Bytes sound = BytesOf("disk.vhdx");
  const uint64_t metadata = MetadataAt(sound);
  MutateAndCompare("vhdx", "disk.vhdx",
                   {{kHeaders[0], 88},
                    {kHeaders[1], 88},
                    {kRegionTables[0], 80},
                    {metadata, 192},
                    {metadata + (64 << 10), 64},
                    {BlockTableAt(sound), 32}},
                   120, Mend);
}

}  // namespace
}  // namespace chainfs
