// SPDX-License-Identifier: Apache-2.0
//
// VDI and VHD images beside qemu-img: those that it makes, damaged ones, and ones that lie.
#include <gtest/gtest.h>

#include "blocklayer/base/endian.h"
#include "tests/format/foreign/foreign_images.h"

namespace chainfs {
namespace {

void PutLittle32(std::vector<std::byte>& bytes, size_t at, uint32_t value) {
  const uint32_t raw = LittleEndian(value);
  std::memcpy(&bytes[at], &raw, sizeof raw);
}

// Of a footer or header: the complement of the sum of its bytes.
void MendChecksum(std::vector<std::byte>& bytes, size_t begin, size_t length, size_t at) {
  if (begin + length > bytes.size()) return;
  StoreBigEndian<uint32_t>(&bytes[begin + at], 0);
  uint32_t sum = 0;
  for (size_t i = begin; i < begin + length; ++i) sum += std::to_integer<uint32_t>(bytes[i]);
  StoreBigEndian<uint32_t>(&bytes[begin + at], ~sum);
}

struct BadCase {
  const char* what;
  std::function<void(std::vector<std::byte>&)> damage;
  ErrorKind kind;
  const char* says;
};

class VdiTest : public ForeignImages {
 protected:
  void MakeVdi(uint64_t size, const std::string& options = "") {
    MakeRaw("disk.raw", size);
    Convert("disk.raw", "disk.vdi", "vdi", options);
  }
};

TEST_F(VdiTest, ReadsWhatQemuImgMakes) {
  for (const uint64_t size : {uint64_t{0}, uint64_t{512}, uint64_t{1} << 20,
                              (uint64_t{5} << 20) + 1536, uint64_t{40} << 20}) {
    for (const char* options : {"", "static=on"}) {
      MakeVdi(size, options);
      ExpectLikeQemu("vdi", "disk.vdi");
    }
  }
}

TEST_F(VdiTest, ALargeOneIsMappedInFewExtents) {
  MakeVdi(uint64_t{1} << 40);
  const auto image = Open("vdi", "disk.vdi").value();
  uint64_t at = 0;
  int extents = 0;
  for (; at < image->virtual_size(); ++extents) {
    at += image->Map(GuestOffset(at), image->virtual_size() - at, MapDetail::kFast)->length;
  }
  EXPECT_LT(extents, 2300) << "of 512 blocks each, where there is nothing";
  EXPECT_LE(cache_.UsedBytes(), 5U << 20);
}

TEST_F(VdiTest, DamagedOnesAreRefusedWithTheReason) {
  MakeVdi(3 << 20);
  const Bytes sound = BytesOf("disk.vdi");
  using enum ErrorKind;
  const std::vector<BadCase> cases = {
      {"signature", [](Bytes& b) { b[64] ^= std::byte{1}; }, kInvalidFormat, "not a VDI image"},
      {"empty", [](Bytes& b) { b.clear(); }, kInvalidFormat, "not a VDI image"},
      {"version", [](Bytes& b) { PutLittle32(b, 68, 0x00010002); }, kUnsupported, "version 1.2"},
      {"type", [](Bytes& b) { PutLittle32(b, 76, 4); }, kUnsupported, "type 4"},
      {"parent", [](Bytes& b) { b[440] = std::byte{1}; }, kUnsupported, "differencing"},
      {"link", [](Bytes& b) { b[424] = std::byte{1}; }, kUnsupported, "differencing"},
      {"sector size", [](Bytes& b) { PutLittle32(b, 360, 4096); }, kUnsupported, "4096"},
      {"block size", [](Bytes& b) { PutLittle32(b, 376, 4096); }, kUnsupported, "4096"},
      {"block extra", [](Bytes& b) { PutLittle32(b, 380, 512); }, kUnsupported, "512 more"},
      {"map offset", [](Bytes& b) { PutLittle32(b, 340, 513); }, kCorrupt, "map at 513"},
      {"map in header", [](Bytes& b) { PutLittle32(b, 340, 0); }, kCorrupt, "map at 0"},
      {"data offset", [](Bytes& b) { PutLittle32(b, 344, 1); }, kCorrupt, "data at 1"},
      {"disk size", [](Bytes& b) { PutLittle32(b, 372, 1); }, kCorrupt, "do not hold a disk"},
      {"blocks", [](Bytes& b) { PutLittle32(b, 384, 0xffffffff); }, kCorrupt, "cut short"},
      {"cut", [](Bytes& b) { b.resize(520); }, kCorrupt, "cut short"},
  };
  for (const BadCase& bad : cases) {
    Bytes bytes = sound;
    bad.damage(bytes);
    Put("bad.vdi", bytes);
    const auto image = Open("vdi", "bad.vdi");
    ASSERT_FALSE(image) << bad.what;
    EXPECT_EQ(image.error().kind, bad.kind) << bad.what;
    EXPECT_NE(image.error().message.find(bad.says), std::string::npos) << image.error().message;
  }
}

TEST_F(VdiTest, ABlockPastTheEndOfTheFileIsAnErrorWhereItIsRead) {
  MakeRaw("disk.raw", 3 << 20);
  Convert("disk.raw", "disk.vdi", "vdi", "static=on");
  Bytes bytes = BytesOf("disk.vdi");
  bytes.resize(bytes.size() - 512);
  Put("cut.vdi", bytes);
  const auto image = Open("vdi", "cut.vdi").value();
  const Extent begin = image->Map(GuestOffset(0), 3 << 20, MapDetail::kFast).value();
  EXPECT_EQ(begin.length, 2U << 20);
  const auto end = image->Map(GuestOffset(2 << 20), 512, MapDetail::kFast);
  EXPECT_EQ(end.error().kind, ErrorKind::kCorrupt);
  EXPECT_NE(end.error().message.find("block 2 lies past the end"), std::string::npos);
}

TEST_F(VdiTest, MutatedHeadersAreRefusedOrReadAsQemuReadsThem) {
  MakeVdi((3 << 20) + 512);
  MutateAndCompare("vdi", "disk.vdi", {{64, 16}, {340, 52}, {340, 52}, {424, 32}, {512, 16}}, 150);
}

class VpcTest : public ForeignImages {
 protected:
  void MakeVpc(uint64_t size, const std::string& options) {
    MakeRaw("disk.raw", size);
    Convert("disk.raw", "disk.vhd", "vpc", options);
  }
  static void Mend(Bytes& bytes) {
    MendChecksum(bytes, 0, 512, 64);
    MendChecksum(bytes, 512, 1024, 36);
  }
  static void MendEnd(Bytes& bytes) {
    if (bytes.size() >= 512) MendChecksum(bytes, bytes.size() - 512, 512, 64);
  }
};

TEST_F(VpcTest, ReadsWhatQemuImgMakes) {
  for (const uint64_t size :
       {uint64_t{512}, uint64_t{1} << 20, (uint64_t{5} << 20) + 1536, uint64_t{40} << 20}) {
    for (const char* options :
         {"subformat=dynamic", "subformat=fixed", "subformat=dynamic,force_size=on",
          "subformat=fixed,force_size=on"}) {
      SCOPED_TRACE(options);
      MakeVpc(size, options);
      ExpectLikeQemu("vpc", "disk.vhd");
    }
  }
}

TEST_F(VpcTest, WhoMadeItTellsHowLargeTheDiskIs) {
  using namespace std::string_literals;
  MakeVpc(5 << 20, "subformat=dynamic,force_size=on");
  const Bytes sound = BytesOf("disk.vhd");
  for (const std::string& creator :
       {"qemu"s, "qem2"s, "win "s, "d2v "s, "tap\0"s, "vpc "s, "vbox"s, "\0\0\0\0"s}) {
    Bytes bytes = sound;
    std::memcpy(&bytes[28], creator.data(), 4);
    Mend(bytes);
    Put("made.vhd", bytes);
    ExpectLikeQemu("vpc", "made.vhd");
  }
}

TEST_F(VpcTest, DamagedOnesAreRefusedWithTheReason) {
  MakeVpc(3 << 20, "subformat=dynamic");
  const Bytes dynamic = BytesOf("disk.vhd");
  MakeVpc(3 << 20, "subformat=fixed");
  const Bytes fixed = BytesOf("disk.vhd");
  using enum ErrorKind;
  struct Case : BadCase {
    bool is_fixed = false;
    bool mend = true;
  };
  const std::vector<Case> cases = {
      {{"empty", [](Bytes& b) { b.clear(); }, kInvalidFormat, "not a VHD image"}},
      {{"short", [](Bytes& b) { b.resize(511); }, kInvalidFormat, "not a VHD image"}},
      {{"checksum", [](Bytes& b) { b[48] ^= std::byte{1}; }, kCorrupt, "checksum"}, false, false},
      {{"differencing", [](Bytes& b) { b[63] = std::byte{4}; }, kUnsupported, "type 4"}},
      {{"type", [](Bytes& b) { b[63] = std::byte{9}; }, kUnsupported, "type 9"}},
      {{"header place", [](Bytes& b) { b[16] = std::byte{0x7f}; }, kCorrupt, "dynamic header"}},
      {{"header magic", [](Bytes& b) { b[512] = {}; }, kCorrupt, "no dynamic header"}},
      {{"header sum", [](Bytes& b) { b[1500] = std::byte{1}; }, kCorrupt, "checksum"},
       false,
       false},
      {{"block size", [](Bytes& b) { b[512 + 35] = std::byte{3}; }, kCorrupt, "blocks of"}},
      {{"blocks", [](Bytes& b) { std::fill_n(&b[512 + 28], 4, std::byte{}); }, kCorrupt,
        "0 blocks"}},
      {{"table", [](Bytes& b) { b[512 + 16] = std::byte{0xff}; }, kCorrupt, "block table"}},
      {{"fixed checksum", [](Bytes& b) { b[b.size() - 460] ^= std::byte{1}; }, kCorrupt,
        "checksum"},
       true,
       false},
      {{"fixed, cut", [](Bytes& b) { b.erase(b.begin(), b.begin() + 4096); }, kCorrupt,
        "too short"},
       true},
      {{"fixed, its guest wrote a footer",
        [](Bytes& b) { std::copy_n(b.end() - 512, 512, b.begin()); }, kUnsupported,
        "begins like a dynamic one"},
       true},
      {{"dynamic at the end only", [](Bytes& b) { b[0] = {}; }, kCorrupt, "does not begin with"}},
  };
  for (const Case& bad : cases) {
    Bytes bytes = bad.is_fixed ? fixed : dynamic;
    bad.damage(bytes);
    if (bad.mend && bad.is_fixed) MendEnd(bytes);
    if (bad.mend && !bad.is_fixed && bytes.size() > 2000) Mend(bytes);
    Put("bad.vhd", bytes);
    const auto image = Open("vpc", "bad.vhd");
    ASSERT_FALSE(image) << bad.what;
    EXPECT_EQ(image.error().kind, bad.kind) << bad.what << ": " << image.error().message;
    EXPECT_NE(image.error().message.find(bad.says), std::string::npos)
        << bad.what << ": " << image.error().message;
  }
}

TEST_F(VpcTest, MutatedHeadersAreRefusedOrReadAsQemuReadsThem) {
  MakeVpc(3 << 20, "subformat=dynamic");
  MutateAndCompare("vpc", "disk.vhd", {{0, 88}, {16, 48}, {512, 64}, {528, 24}, {1536, 8}}, 120,
                   Mend);
  MakeVpc(3 << 20, "subformat=fixed");
  const uint64_t footer = BytesOf("disk.vhd").size() - 512;
  MutateAndCompare("vpc", "disk.vhd", {{footer, 88}, {footer + 16, 48}}, 60, MendEnd);
}

}  // namespace
}  // namespace chainfs
