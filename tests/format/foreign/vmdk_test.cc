// SPDX-License-Identifier: Apache-2.0
//
// VMDK disks beside qemu-img: those that it makes, descriptors put together by hand, damaged ones,
// and ones that lie.
#include <gtest/gtest.h>

#include "blocklayer/base/endian.h"
#include "tests/format/foreign/foreign_images.h"

namespace chainfs {
namespace {

using enum ErrorKind;

void PutLittle32(std::vector<std::byte>& bytes, size_t at, uint32_t value) {
  const uint32_t raw = LittleEndian(value);
  std::memcpy(&bytes[at], &raw, sizeof raw);
}

std::string DescriptorOf(const std::string& extents, const std::string& type = "monolithicFlat") {
  return "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"" +
         type + "\"\n# Extent description\n" + extents;
}

class VmdkTest : public ForeignImages {
 protected:
  void MakeVmdk(uint64_t size, const std::string& subformat, const std::string& more = "") {
    MakeRaw("disk.raw", size);
    Convert("disk.raw", "disk.vmdk", "vmdk", "subformat=" + subformat + more);
  }
  void ExpectRefused(const std::string& name, ErrorKind kind, const std::string& says) {
    const auto image = Open("vmdk", name);
    ASSERT_FALSE(image) << says;
    EXPECT_EQ(image.error().kind, kind) << image.error().message;
    EXPECT_NE(image.error().message.find(says), std::string::npos) << image.error().message;
  }
};

TEST_F(VmdkTest, ReadsWhatQemuImgMakes) {
  for (const uint64_t size :
       {uint64_t{512}, uint64_t{1} << 20, (uint64_t{5} << 20) + 1536, uint64_t{40} << 20}) {
    for (const char* subformat : {"monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse",
                                  "twoGbMaxExtentFlat", "streamOptimized"}) {
      SCOPED_TRACE(subformat);
      MakeVmdk(size, subformat);
      ExpectLikeQemu("vmdk", "disk.vmdk");
    }
  }
}

TEST_F(VmdkTest, GrainsOfZeros) {
  MakeVmdk(3 << 20, "monolithicSparse", ",zeroed_grain=on");
  const CommandResult zeroed =
      RunCommand({"qemu-io", "-f", "vmdk", "-c", "write -z 1M 1M", dir_ / "disk.vmdk"});
  ASSERT_TRUE(zeroed.ok()) << zeroed.Describe();
  ExpectLikeQemu("vmdk", "disk.vmdk");
  const auto image = Open("vmdk", "disk.vmdk").value();
  EXPECT_EQ(image->Map(GuestOffset(1 << 20), 1 << 20, MapDetail::kFast)->kind, ExtentKind::kZero);
}

TEST_F(VmdkTest, ExtentsOfTwoGiBFollowEachOther) {
  for (const char* subformat : {"twoGbMaxExtentSparse", "twoGbMaxExtentFlat"}) {
    const CommandResult made =
        RunCommand({"qemu-img", "create", "-q", "-f", "vmdk", "-o",
                    std::string("subformat=") + subformat, dir_ / "large.vmdk", "5G"});
    ASSERT_TRUE(made.ok()) << made.Describe();
    const CommandResult written =
        RunCommand({"qemu-io", "-f", "vmdk", "-c", "write -P 7 2147418112 128k", "-c",
                    "write -P 8 4294901760 128k", dir_ / "large.vmdk"});
    ASSERT_TRUE(written.ok()) << written.Describe();
    const auto image = Open("vmdk", "large.vmdk").value();
    ASSERT_EQ(image->virtual_size(), uint64_t{5} << 30);
    EXPECT_EQ(image->source_count(), 4);
    for (const auto& [end, byte] : {std::pair{uint64_t{2} << 30, 7}, {uint64_t{4} << 30, 8}}) {
      for (const uint64_t at : {end - 512, end}) {
        const Extent extent = image->Map(GuestOffset(at), 512, MapDetail::kFast).value();
        ASSERT_EQ(extent.kind, ExtentKind::kData);
        EXPECT_EQ(extent.source, (at >> 31) + 1);
        Bytes read(512);
        ASSERT_TRUE(image->source(extent.source).ReadZeroFilled(extent.host, read));
        EXPECT_EQ(read, Bytes(512, static_cast<std::byte>(byte)));
      }
    }
  }
}

TEST_F(VmdkTest, ADescriptorOfSeveralKinds) {
  MakeRaw("a.raw", 1 << 20);
  MakeRaw("b.img", (2 << 20) + 512);
  MakeVmdk(3 << 20, "twoGbMaxExtentSparse");
  const std::string extents =
      "RW 1000 FLAT \"b.img\" 7\nRW 6144 SPARSE \"disk-s001.vmdk\"\r\n"
      "RW 2048 FLAT \"a.raw\" 0\nRW 100 FLAT \"b.img\" 3997\nRW 5 VMFS \"a.raw\"\n";
  WriteTextFile(dir_ / "many.vmdk", DescriptorOf(extents));
  ExpectLikeQemu("vmdk", "many.vmdk");
  EXPECT_EQ(Open("vmdk", "many.vmdk").value()->source_count(), 4) << "b.img is opened once";
}

TEST_F(VmdkTest, AnExtentOfZeros) {
  MakeRaw("a.raw", 1 << 20);
  WriteTextFile(dir_ / "zero.vmdk",
                DescriptorOf("RW 1000 ZERO\nRW 2048 FLAT \"a.raw\" 0\nRW 8 ZERO\n"));
  const auto image = Open("vmdk", "zero.vmdk").value();
  Bytes expected(512000);
  const Bytes middle = BytesOf("a.raw");
  expected.insert(expected.end(), middle.begin(), middle.end());
  expected.resize(expected.size() + 4096);
  EXPECT_TRUE(ReadAll(*image).value() == expected);
}

// Such files come from programs that cannot seek.
TEST_F(VmdkTest, TheFooterTellsWhereTheDirectoryIs) {
  MakeVmdk((5 << 20) + 1536, "streamOptimized");
  Bytes bytes = BytesOf("disk.vmdk");
  Bytes footer(1536);
  footer[12] = std::byte{3};
  std::copy_n(bytes.begin(), 512, footer.begin() + 512);
  bytes.resize(RoundUp(bytes.size(), 512));
  bytes.insert(bytes.end(), footer.begin(), footer.end());
  std::fill_n(&bytes[56], 8, std::byte{0xff});
  Put("stream.vmdk", bytes);
  ExpectLikeQemu("vmdk", "stream.vmdk");
  MutateAndCompare("vmdk", "stream.vmdk", {{bytes.size() - 1536, 16}, {bytes.size() - 1024, 80}},
                   40);
  bytes.resize(bytes.size() - 512);
  Put("cut.vmdk", bytes);
  ExpectRefused("cut.vmdk", kCorrupt, "its footer is not where it belongs");
}

TEST_F(VmdkTest, BadDescriptorsAreRefusedWithTheReason) {
  MakeRaw("a.raw", 1 << 20);
  ASSERT_EQ(mkdir((dir_ / "sub").c_str(), 0755), 0);
  const std::string flat = "RW 2048 FLAT \"a.raw\" 0\n";
  struct Case {
    std::string text;
    ErrorKind kind;
    const char* says;
  };
  std::string many = DescriptorOf("");
  for (int i = 0; i < 513; ++i) many += flat;
  const std::vector<Case> cases = {
      {"", kInvalidFormat, "not a VMDK image"},
      {"COWD", kInvalidFormat, "not a VMDK image"},
      {DescriptorOf(flat) + std::string(65536, ' '), kInvalidFormat, "not a VMDK image"},
      {DescriptorOf(flat) + std::string("\0RW", 3), kInvalidFormat, "no VMDK descriptor"},
      {DescriptorOf(""), kInvalidFormat, "names no extents"},
      {DescriptorOf(flat, "seSparse"), kUnsupported, "\"seSparse\""},
      {DescriptorOf(flat, "vmfsSparse"), kUnsupported, "\"vmfsSparse\""},
      {DescriptorOf(flat, ""), kUnsupported, "of the type \"\""},
      {DescriptorOf(flat + "parentCID=1234abcd\n"), kUnsupported, "a difference to a parent"},
      {DescriptorOf(flat + "parentFileNameHint=\"x.vmdk\"\n"), kUnsupported, "to a parent"},
      {DescriptorOf("RW 2048 FLAT \"../a.raw\" 0\n"), kUnsupported, "own directory"},
      {DescriptorOf("RW 2048 FLAT \"/etc/passwd\" 0\n"), kUnsupported, "own directory"},
      {DescriptorOf("RW 2048 FLAT \"..\" 0\n"), kUnsupported, "own directory"},
      {DescriptorOf("RW 2048 FLAT \"\" 0\n"), kUnsupported, "own directory"},
      {DescriptorOf("RW 2048 FLAT a.raw 0\n"), kUnsupported, "own directory"},
      {DescriptorOf("RW 2048 FLAT \"sub\" 0\n"), kInvalidArgument, "sub"},
      {DescriptorOf("RW 2048 FLAT \"b.raw\" 0\n"), kNotFound, "b.raw"},
      {DescriptorOf("RW 2048 FLAT \"json:{}\" 0\n"), kNotFound, "json:{}"},
      {DescriptorOf("RW 2048 FLAT \"a.raw\"\n"), kInvalidFormat, "no offset"},
      {DescriptorOf("RW 2048 FLAT \"a.raw\" -1\n"), kInvalidFormat, "no offset"},
      {DescriptorOf("RW 2048 VMFS \"a.raw\" 1\n"), kInvalidFormat, "no offset"},
      {DescriptorOf("RW 2049 FLAT \"a.raw\" 0\n"), kCorrupt, "cut short"},
      {DescriptorOf("RW 2048 FLAT \"a.raw\" 1\n"), kCorrupt, "cut short"},
      {DescriptorOf("RW 1 FLAT \"a.raw\" 18014398509481983\n"), kCorrupt, "cut short"},
      {DescriptorOf("RW 1 FLAT \"a.raw\" 18014398509481984\n"), kInvalidFormat, "no offset"},
      {DescriptorOf("RW 0 FLAT \"a.raw\" 0\n"), kInvalidFormat, "no size"},
      {DescriptorOf("RW -5 FLAT \"a.raw\" 0\n"), kInvalidFormat, "no size"},
      {DescriptorOf("RW 99999999999999999999 ZERO\n"), kInvalidFormat, "no size"},
      {DescriptorOf("RW 18014398509481983 ZERO\nRW 18014398509481983 ZERO\n"), kUnsupported,
       "than a disk can hold"},
      {DescriptorOf("RW 2048 SPARSE \"a.raw\"\n"), kInvalidFormat, "not a sparse VMDK file"},
      {DescriptorOf("RW 2048 SESPARSE \"a.raw\"\n"), kUnsupported, "SPARSE and ZERO"},
      {DescriptorOf("RW 2048 VMFSSPARSE \"a.raw\"\n"), kUnsupported, "SPARSE and ZERO"},
      {DescriptorOf("RDONLY 2048 FLAT \"a.raw\" 0\n"), kUnsupported, "not RW"},
      {DescriptorOf("NOACCESS 2048 ZERO\n"), kUnsupported, "not RW"},
      {many, kUnsupported, "more than 512 extents"},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.text.substr(0, 300));
    WriteTextFile(dir_ / "bad.vmdk", bad.text);
    ExpectRefused("bad.vmdk", bad.kind, bad.says);
  }
}

TEST_F(VmdkTest, ExtentsThatDoNotFitAreRefused) {
  MakeVmdk(3 << 20, "twoGbMaxExtentSparse");
  ExpectRefused("disk-s001.vmdk", kUnsupported, "a part of a VMDK disk only");
  WriteTextFile(dir_ / "bad.vmdk", DescriptorOf("RW 6143 SPARSE \"disk-s001.vmdk\"\n"));
  ExpectRefused("bad.vmdk", kCorrupt, "the descriptor of the disk says");
  MakeVmdk((3 << 20) + 512, "twoGbMaxExtentSparse");
  WriteTextFile(dir_ / "bad.vmdk", DescriptorOf("RW 6145 SPARSE \"disk-s001.vmdk\"\nRW 1 ZERO\n"));
  ExpectRefused("bad.vmdk", kUnsupported, "ends within a grain");
  MakeVmdk(3 << 20, "monolithicFlat");
  ExpectRefused("disk-flat.vmdk", kInvalidFormat, "if it is an extent of one");
  MakeVmdk(3 << 20, "streamOptimized");
  WriteTextFile(dir_ / "bad.vmdk",
                DescriptorOf("RW 1 ZERO\nRW 6144 SPARSE \"disk.vmdk\"\n", "twoGbMaxExtentSparse"));
  ExpectRefused("bad.vmdk", kUnsupported, "do not fit to the other extents");
}

TEST_F(VmdkTest, DamagedSparseFilesAreRefusedWithTheReason) {
  MakeVmdk((5 << 20) + 1536, "monolithicSparse");
  const Bytes sound = BytesOf("disk.vmdk");
  struct Case {
    const char* what;
    std::function<void(Bytes&)> damage;
    ErrorKind kind;
    const char* says;
  };
  const std::vector<Case> cases = {
      {"version", [](Bytes& b) { PutLittle32(b, 4, 4); }, kUnsupported, "version 4"},
      {"version 0", [](Bytes& b) { PutLittle32(b, 4, 0); }, kUnsupported, "version 0"},
      {"line ends", [](Bytes& b) { b[75] = std::byte{'\n'}; }, kCorrupt, "copied as a text"},
      {"method", [](Bytes& b) { b[77] = std::byte{2}; }, kCorrupt, "compression method is 2"},
      {"flag of it", [](Bytes& b) { b[77] = std::byte{1}; }, kCorrupt, "its flags are"},
      {"grain", [](Bytes& b) { PutLittle32(b, 20, 100); }, kCorrupt, "grains of 100 sectors"},
      {"no grain", [](Bytes& b) { PutLittle32(b, 20, 0); }, kCorrupt, "grains of 0 sectors"},
      {"large grain", [](Bytes& b) { PutLittle32(b, 20, 0x400000); }, kCorrupt, "grains of"},
      {"entries", [](Bytes& b) { PutLittle32(b, 44, 256); }, kUnsupported, "have 256 entries"},
      {"capacity", [](Bytes& b) { b[18] = std::byte{1}; }, kCorrupt, "does not lie within"},
      {"capacity 0", [](Bytes& b) { PutLittle32(b, 12, 0); }, kCorrupt, "0 sectors"},
      {"capacity 2^63", [](Bytes& b) { b[19] = std::byte{128}; }, kCorrupt, "is not possible"},
      {"directory", [](Bytes& b) { b[62] = std::byte{1}; }, kCorrupt, "does not lie within"},
      {"overhead", [](Bytes& b) { b[70] = std::byte{1}; }, kCorrupt, "does not lie within"},
      {"descriptor", [](Bytes& b) { b[34] = std::byte{1}; }, kCorrupt, "its descriptor"},
      {"length of it", [](Bytes& b) { PutLittle32(b, 36, 129); }, kCorrupt, "too long"},
      {"no descriptor", [](Bytes& b) { PutLittle32(b, 28, 0); }, kUnsupported, "a part of"},
      {"parent",
       [](Bytes& b) {
         const std::string_view text(reinterpret_cast<const char*>(b.data()), 4096);
         b[text.find("parentCID=") + 10] = std::byte{'1'};
       },
       kUnsupported, "to a parent"},
      {"footer", [](Bytes& b) { std::fill_n(&b[56], 8, std::byte{0xff}); }, kCorrupt, "its footer"},
      {"cut", [](Bytes& b) { b.resize(512); }, kCorrupt, ""},
  };
  for (const Case& bad : cases) {
    SCOPED_TRACE(bad.what);
    Bytes bytes = sound;
    bad.damage(bytes);
    Put("bad.vmdk", bytes);
    ExpectRefused("bad.vmdk", bad.kind, bad.says);
  }
}

TEST_F(VmdkTest, GrainsPastTheEndAreErrorsWhereTheyAreRead) {
  MakeVmdk(3 << 20, "monolithicSparse");
  Bytes bytes = BytesOf("disk.vmdk");
  bytes.resize(bytes.size() - 512);
  Put("cut.vmdk", bytes);
  const auto read = ReadAll(*Open("vmdk", "cut.vmdk").value());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, kCorrupt);
  EXPECT_NE(read.error().message.find("cut.vmdk: a grain, at sector"), std::string::npos);
}

TEST_F(VmdkTest, CompressedGrainsThatLieAreErrors) {
  MakeVmdk(1 << 20, "streamOptimized");
  const Bytes sound = BytesOf("disk.vmdk");
  const uint64_t grain = uint64_t{LoadLittleEndian<uint32_t>(&sound[64])} * 512;
  for (const uint32_t length : {0U, 3U, 200000U, 0xffffffffU}) {
    Bytes bytes = sound;
    PutLittle32(bytes, grain + 8, length);
    Put("bad.vmdk", bytes);
    const auto read = ReadAll(*Open("vmdk", "bad.vmdk").value());
    ASSERT_FALSE(read) << length;
    EXPECT_EQ(read.error().kind, kCorrupt);
    EXPECT_NE(read.error().message.find("bad.vmdk: the compressed grain at"), std::string::npos)
        << read.error().message;
  }
}

TEST_F(VmdkTest, MutatedHeadersAreRefusedOrReadAsQemuReadsThem) {
  for (const char* subformat : {"monolithicSparse", "streamOptimized"}) {
    MakeVmdk((5 << 20) + 1536, subformat);
    const Bytes sound = BytesOf("disk.vmdk");
    const uint64_t directory = uint64_t{LoadLittleEndian<uint32_t>(&sound[56])} * 512;
    const uint64_t table = uint64_t{LoadLittleEndian<uint32_t>(&sound[directory])} * 512;
    const uint64_t grains = uint64_t{LoadLittleEndian<uint32_t>(&sound[64])} * 512;
    MutateAndCompare("vmdk", "disk.vmdk",
                     {{0, 80}, {4, 76}, {directory, 8}, {table, 328}, {grains, 16}}, 100);
  }
}

}  // namespace
}  // namespace chainfs
