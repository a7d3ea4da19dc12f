// SPDX-License-Identifier: Apache-2.0
//
// Damaged and hostile headers: each case patches a sound image and says what reading it must
// answer. Refusals name the file and the field or feature; whatever is accepted, qemu-img accepts
// too.
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs {
namespace {

using Bytes = std::vector<std::byte>;

void Put32(Bytes& image, size_t offset, uint32_t value) {
  StoreBigEndian(image.data() + offset, value);
}
void Put64(Bytes& image, size_t offset, uint64_t value) {
  StoreBigEndian(image.data() + offset, value);
}
uint64_t Get64(const Bytes& image, size_t offset) {
  return LoadBigEndian<uint64_t>(image.data() + offset);
}
// An extension at `offset`; returns where the next one goes.
size_t PutExtension(Bytes& image, size_t offset, uint32_t type, uint32_t length,
                    std::string_view data = "") {
  Put32(image, offset, type);
  Put32(image, offset + 4, length);
  std::memcpy(image.data() + offset + 8, data.data(), data.size());
  return offset + 8 + RoundUp(length, 8);
}

// A sound image: 64 KiB clusters unless said otherwise, 1 GiB, and for `backed` a backing file
// whose format extension lies at 112 and whose name lies at 136.
Bytes SoundImage(uint32_t version, uint32_t cluster_bits = 16, bool backed = true) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  Qcow2CreateOptions options{
      .virtual_size = 64 << 20, .version = version, .cluster_bits = cluster_bits};
  if (backed) options.backing = BackingReference{.name = "base.raw", .format = "raw"};
  const auto created = CreateQcow2(*directory, "a.qcow2", options);
  EXPECT_TRUE(created) << created.error().message;
  return host->Contents("a.qcow2");
}

Result<qcow2::Qcow2Header> Read(const Bytes& image) {
  const auto host = MemHost::Create();
  host->PutFile("a.qcow2", image);
  auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
  if (!file) return std::unexpected(file.error());
  return qcow2::ReadQcow2Header(**file);
}

struct Case {
  std::string name;
  std::function<void(Bytes&)> damage;
  std::optional<ErrorKind> kind;  // nothing: must be accepted
  std::string says;               // in the message; or in the reason for being read-only
  uint32_t version = 3;
  uint32_t cluster_bits = 16;
  bool backed = true;
  bool ask_qemu = true;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
std::string CaseName(const testing::TestParamInfo<Case>& tested) { return tested.param.name; }

class BadHeaderTest : public testing::TestWithParam<Case> {};

TEST_P(BadHeaderTest, IsAnsweredAsItMustBe) {
  const Case& c = GetParam();
  Bytes image = SoundImage(c.version, c.cluster_bits, c.backed);
  c.damage(image);
  const Result<qcow2::Qcow2Header> header = Read(image);
  if (c.kind) {
    ASSERT_FALSE(header.has_value());
    EXPECT_EQ(ErrorKindName(header.error().kind), ErrorKindName(*c.kind)) << header.error().message;
    EXPECT_TRUE(header.error().message.contains("a.qcow2")) << header.error().message;
    EXPECT_TRUE(header.error().message.contains(c.says)) << header.error().message;
    return;
  }
  ASSERT_TRUE(header.has_value()) << header.error().message;
  EXPECT_EQ(header->read_only_reason.has_value(), !c.says.empty());
  EXPECT_TRUE(header->read_only_reason.value_or("").contains(c.says));
  if (!c.ask_qemu) return;
  // What chainfs opens, qemu-img opens.
  const TempDir temp;
  WriteTextFile(temp / "a.qcow2",
                std::string_view(reinterpret_cast<const char*>(image.data()), image.size()));
  WriteTextFile(temp / "base.raw", "");
  const CommandResult info = RunCommand({"qemu-img", "info", "-f", "qcow2", temp / "a.qcow2"});
  EXPECT_TRUE(info.ok()) << info.Describe();
}

constexpr auto kInvalid = ErrorKind::kInvalidFormat;
constexpr auto kUnknown = ErrorKind::kUnsupported;

std::function<void(Bytes&)> Set32(size_t offset, uint32_t value) {
  return [=](Bytes& image) { Put32(image, offset, value); };
}
std::function<void(Bytes&)> Set64(size_t offset, uint64_t value) {
  return [=](Bytes& image) { Put64(image, offset, value); };
}
std::function<void(Bytes&)> CutTo(size_t size) {
  return [=](Bytes& image) { image.resize(size); };
}
// Replaces all extensions and drops the backing file.
std::function<void(Bytes&)> Extensions(std::function<void(Bytes&, size_t)> write) {
  return [write = std::move(write)](Bytes& image) {
    Put64(image, qcow2::kOffsetBackingOffset, 0);
    std::memset(image.data() + 112, 0, 1024);
    write(image, 112);
  };
}

INSTANTIATE_TEST_SUITE_P(
    Basics, BadHeaderTest,
    testing::ValuesIn(std::vector<Case>{
        {"H1_Magic", Set32(0, 0x514649fa), kInvalid, "magic"},
        {"H1_EmptyFile", CutTo(0), kInvalid, "shorter"},
        {"H1_71Bytes", CutTo(71), kInvalid, "shorter"},
        {"H1_V2_71Bytes", CutTo(71), kInvalid, "shorter", 2},
        {"H1_V3_103Bytes", CutTo(103), kInvalid, "header_length"},
        {"H2_Version0", Set32(4, 0), kUnknown, "version 0"},
        {"H2_Version1", Set32(4, 1), kUnknown, "version 1"},
        {"H2_Version4", Set32(4, 4), kUnknown, "version 4"},
        {"H2_VersionMax", Set32(4, UINT32_MAX), kUnknown, "version 4294967295"},
        {"H3_ClusterBits0", Set32(20, 0), kInvalid, "cluster_bits is 0"},
        {"H3_ClusterBits8", Set32(20, 8), kInvalid, "cluster_bits is 8"},
        {"H3_ClusterBits22", Set32(20, 22), kInvalid, "cluster_bits is 22"},
        {"H3_ClusterBits63", Set32(20, 63), kInvalid, "cluster_bits is 63"},
        {"H4_Length0", Set32(100, 0), kInvalid, "header_length is 0"},
        {"H4_Length103", Set32(100, 103), kInvalid, "header_length is 103"},
        {"H4_Length108", Set32(100, 108), kInvalid, "header_length is 108"},
        {"H4_LengthBeyondCluster", Set32(100, 65544), kInvalid, "header_length is 65544"},
        {"H4_LengthMax", Set32(100, UINT32_MAX), kInvalid, "header_length"},
    }),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Features, BadHeaderTest,
    testing::ValuesIn(std::vector<Case>{
        {"H5_Bit5", Set64(72, 1ull << 5), kUnknown, "incompatible feature bit 5"},
        {"H5_Bit63", Set64(72, 1ull << 63), kUnknown, "incompatible feature bit 63"},
        {"H5_NamedByTheImage", Extensions([](Bytes& image, size_t at) {
           Put64(image, 72, 1ull << 7);
           std::string table(96, '\0');
           table[0] = 1;  // compatible bit 7 has another name
           table[1] = 7;
           table.replace(2, 5, "wrong");
           table[48] = 0;
           table[49] = 7;
           table.replace(50, 10, "time\ntravel");
           PutExtension(image, at, qcow2::kExtensionFeatureNames, 96, table);
         }),
         kUnknown, "bit 7 (time?trave"},
        {"H5_TableDamaged", Extensions([](Bytes& image, size_t at) {
           Put64(image, 72, 1ull << 7);
           PutExtension(image, at, qcow2::kExtensionFeatureNames, UINT32_MAX);
         }),
         kUnknown, "bit 7"},
        {"H6_Corrupt", Set64(72, qcow2::kIncompatibleCorrupt), std::nullopt, "marked corrupt"},
        {"H7_Dirty", Set64(72, qcow2::kIncompatibleDirty), std::nullopt, ""},
        {"H8_UnknownAutoclear", Set64(88, 0xff00), std::nullopt, ""},
        {"UnknownCompatible", Set64(80, ~0ull), std::nullopt, ""},
        {"H9_DataFile", Set64(72, qcow2::kIncompatibleDataFile), kInvalid, "external data file"},
        {"H9_RawWithoutDataFile", Set64(88, qcow2::kAutoclearRawDataFile), kInvalid, "data file"},
        {"H10_Aes", Set32(32, 1), kUnknown, "encryption (crypt_method 1, AES)"},
        {"H10_Luks", Set32(32, 2), kUnknown, "encryption (crypt_method 2, LUKS)"},
        {"H10_Crypt3", Set32(32, 3), kUnknown, "encryption"},
        {"H10_V2_Aes", Set32(32, 1), kUnknown, "encryption", 2},
        {"H11_TypeWithoutBit", [](Bytes& i) { i[104] = std::byte{1}; }, kInvalid,
         "compression_type is 1"},
        {"H11_BitWithoutType", Set64(72, qcow2::kIncompatibleCompressionType), kInvalid,
         "compression_type is 0"},
        {"H11_BitInAShortHeader", Extensions([](Bytes& image, size_t at) {
           Put32(image, 100, 104);
           image[104] = std::byte{0};  // now the end mark
           Put64(image, 72, qcow2::kIncompatibleCompressionType);
           PutExtension(image, at, qcow2::kExtensionEnd, 0);
         }),
         kInvalid, "compression_type is 0"},
        {"H11_Type2",
         [](Bytes& image) {
           image[104] = std::byte{2};
           Put64(image, 72, qcow2::kIncompatibleCompressionType);
         },
         kUnknown, "compression_type 2"},
        {"H12_ExtendedL2Small", Set64(72, qcow2::kIncompatibleExtendedL2), kInvalid,
         "cluster_bits 13", 3, 13},
        {"H13_RefcountOrder7", Set32(96, 7), kInvalid, "refcount_order is 7"},
        {"H13_RefcountOrderMax", Set32(96, 1u << 31), kInvalid, "refcount_order"},
    }),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Tables, BadHeaderTest,
    testing::ValuesIn(std::vector<Case>{
        {"H14_NoClusters", Set32(56, 0), kInvalid, "refcount_table_clusters is 0"},
        {"H14_Above8MiB", Set32(56, 129), kInvalid, "refcount_table_clusters is 129"},
        {"H14_ClustersMax", Set32(56, UINT32_MAX), kInvalid, "refcount_table_clusters"},
        {"H14_Unaligned", Set64(48, 65536 + 512), kInvalid, "refcount_table offset 0x10200"},
        {"H14_Above2To63", Set64(48, 1ull << 63), kInvalid, "refcount_table offset"},
        {"H14_EndPasses2To63", Set64(48, 0x7fffffffffff0000), kInvalid, "refcount_table offset"},
        {"H14_Zero", Set64(48, 0), kInvalid, "lies in the header"},
        {"H14_BeyondTheFile", Set64(48, 1ull << 40), kInvalid, "refcount_table at 0x10000000000"},
        {"H15_Above32MiB", Set32(36, (32 << 20) / 8 + 1), kInvalid, "l1_size is 4194305"},
        {"H15_SizeMax", Set32(36, UINT32_MAX), kInvalid, "l1_size"},
        {"H15_TooSmall", Set32(36, 0), kInvalid, "l1_size is 0 entries, but size 67108864 needs 1"},
        {"H15_Unaligned", Set64(40, 3 * 65536 + 8), kInvalid, "l1_table offset 0x30008"},
        {"H15_Overflow", Set64(40, 0xffffffffffff0000), kInvalid, "l1_table offset"},
        {"H15_InTheHeader", Set64(40, 0), kInvalid, "l1_table offset 0x0 lies in the header"},
        {"H15_OnTheRefcountTable", Set64(40, 65536), kInvalid, "overlaps the refcount table"},
        {"H15_BeyondTheFile", Set64(40, 1ull << 40), kInvalid, "truncated"},
        {"H15_CutShort", CutTo(3 * 65536), kInvalid, "truncated"},
        {"H16_Size0", Set64(24, 0), std::nullopt, ""},
        {"H16_Size1", Set64(24, 1), std::nullopt, ""},
        {"H16_NotAligned", Set64(24, (64 << 20) - 100), std::nullopt, ""},
        {"H16_Size2To63", Set64(24, 1ull << 63), kInvalid, "size 9223372036854775808"},
        {"H16_SizeMax", Set64(24, UINT64_MAX), kInvalid, "size 18446744073709551615"},
        {"H16_L1Above32MiB", Set64(24, (1ull << 42) + 1), kInvalid, "at most 32 MiB", 3, 10},
        {"H19_TooManySnapshots", Set32(60, 65537), kInvalid, "nb_snapshots is 65537"},
        {"H19_SnapshotsMax", Set32(60, UINT32_MAX), kInvalid, "nb_snapshots"},
        {"H19_Unaligned", Set64(64, 100), kInvalid, "snapshots offset 0x64"},
        {"H19_InTheHeader", Set32(60, 1), kInvalid, "snapshots offset 0x0 lies in the header"},
    }),
    CaseName);

INSTANTIATE_TEST_SUITE_P(
    Backing, BadHeaderTest,
    testing::ValuesIn(std::vector<Case>{
        {"H17_BeyondTheCluster", Set64(8, 65537), kInvalid, "backing_file_offset is 65537"},
        {"H17_OffsetMax", Set64(8, UINT64_MAX), kInvalid, "backing_file_offset"},
        {"H17_InTheHeader", Set64(8, 104), kInvalid, "backing_file_offset is 104"},
        {"H17_V2_InTheHeader", Set64(8, 71), kInvalid, "backing_file_offset is 71", 2},
        {"H17_NamePastTheCluster", Set64(8, 65536 - 7), kInvalid, "backing_file_size is 8"},
        {"H17_Name1024", Set32(16, 1024), kInvalid, "backing_file_size is 1024"},
        {"H17_NameMax", Set32(16, UINT32_MAX), kInvalid, "backing_file_size"},
        {"H17_NoName", Set32(16, 0), kInvalid, "backing_file_size is 0"},
        {"H17_NoOffsetButSize", Set64(8, 0), std::nullopt, ""},
        {"H17_NulInTheName", [](Bytes& image) { image[Get64(image, 8) + 2] = std::byte{0}; },
         kInvalid, "NUL"},
        {"H18_FormatOf16Bytes", Extensions([](Bytes& image, size_t at) {
           PutExtension(image, at, qcow2::kExtensionBackingFormat, 16, "0123456789abcdef");
         }),
         kInvalid, "backing format has 16 bytes"},
        {"C7_NulInTheFormat", [](Bytes& image) { image[121] = std::byte{0}; }, kInvalid,
         "backing format contains a NUL"},
    }),
    CaseName);

void PutBitmaps(Bytes& image, size_t at, uint32_t count, uint64_t directory_bytes,
                uint64_t directory) {
  Put64(image, qcow2::kOffsetAutoclear, qcow2::kAutoclearBitmaps);
  PutExtension(image, at, qcow2::kExtensionBitmaps, 24);
  Put32(image, at + 8, count);
  Put64(image, at + 16, directory_bytes);
  Put64(image, at + 24, directory);
}

INSTANTIATE_TEST_SUITE_P(
    ExtensionArea, BadHeaderTest,
    testing::ValuesIn(std::vector<Case>{
        {"H18_LongerThanTheRest",
         Extensions([](Bytes& i, size_t at) { PutExtension(i, at, 0x12345678, 65536); }), kInvalid,
         "extension 0x12345678 at byte 112 is too long"},
        {"H18_LengthMax",
         Extensions([](Bytes& i, size_t at) { PutExtension(i, at, 0x12345678, UINT32_MAX); }),
         kInvalid, "too long"},
        {"H18_EndMarkTooLong",
         Extensions([](Bytes& i, size_t at) { PutExtension(i, at, 0, 65536); }), kInvalid,
         "too long"},
        {"H18_IntoTheName", [](Bytes& image) { PutExtension(image, 128, 0x12345678, 8); }, kInvalid,
         "too long"},
        {"H18_DuplicateFormat", Extensions([](Bytes& image, size_t at) {
           at = PutExtension(image, at, qcow2::kExtensionBackingFormat, 3, "raw");
           PutExtension(image, at, qcow2::kExtensionBackingFormat, 5, "qcow2");
         }),
         kInvalid, "duplicate"},
        {"H18_NoEndMark",
         [](Bytes& image) {
           Put64(image, 8, 128);
           std::memcpy(&image[128], "base.raw", 8);
         },
         std::nullopt, ""},
        // qemu-img opens it too, in half a minute.
        {"H18_65000TinyOnes", Extensions([](Bytes& image, size_t at) {
           for (; at + 8 < 2 << 20; at += 8) Put32(image, at, 0x11111111);
         }),
         std::nullopt, "", 3, 21, false, false},
        {"H18_UnknownOnesAreKept", Extensions([](Bytes& image, size_t at) {
           at = PutExtension(image, at, 0x55555555, 13, "unknown bytes");
           PutExtension(image, at, 0x55555555, 0);
         }),
         std::nullopt, ""},
        {"LuksExtensionWithoutCrypt",
         Extensions([](Bytes& i, size_t at) { PutExtension(i, at, qcow2::kExtensionCrypto, 16); }),
         kInvalid, "encryption extension"},
        {"H20_NoBitmaps", Extensions([](Bytes& i, size_t at) { PutBitmaps(i, at, 0, 64, 65536); }),
         kInvalid, "bitmaps"},
        {"H20_TooManyBitmaps",
         Extensions([](Bytes& i, size_t at) { PutBitmaps(i, at, 65536, 64, 65536); }), kInvalid,
         "bitmaps extension names 65536"},
        {"H20_DirectoryAbove64MiB",
         Extensions([](Bytes& i, size_t at) { PutBitmaps(i, at, 1, (64 << 20) + 1, 65536); }),
         kInvalid, "bitmaps extension"},
        {"H20_DirectoryUnaligned",
         Extensions([](Bytes& i, size_t at) { PutBitmaps(i, at, 1, 64, 65537); }), kInvalid,
         "bitmap directory offset 0x10001"},
        {"H20_DirectoryInTheHeader",
         Extensions([](Bytes& i, size_t at) { PutBitmaps(i, at, 1, 64, 0); }), kInvalid,
         "bitmap directory offset 0x0"},
        {"H20_WrongLength", Extensions([](Bytes& image, size_t at) {
           Put64(image, qcow2::kOffsetAutoclear, qcow2::kAutoclearBitmaps);
           PutExtension(image, at, qcow2::kExtensionBitmaps, 16);
         }),
         kInvalid, "bitmaps extension has 16 bytes"},
        {"H20_NotInForce", Extensions([](Bytes& image, size_t at) {
           PutBitmaps(image, at, 1, 64, 65536);
           Put64(image, qcow2::kOffsetAutoclear, 0);
         }),
         std::nullopt, ""},
    }),
    CaseName);

// Where qemu-img can make them, the images are real.
TEST(BadHeaderQemuTest, UnsupportedFeaturesAreNamed) {
  const TempDir temp;
  const auto directory = OpenPosixDirectory(temp.path());
  ASSERT_TRUE(directory.has_value());
  const CommandResult made = RunCommand({"qemu-img", "create", "-f", "qcow2", "-o",
                                         "data_file=" + (temp / "d.raw"), temp / "x.qcow2", "1M"});
  ASSERT_TRUE(made.ok()) << made.Describe();
  auto file = (*directory)->Open("x.qcow2", OpenMode::kReadOnly);
  ASSERT_TRUE(file.has_value());
  MetadataCache cache(1 << 20);
  const auto image =
      OpenQcow2Image(*std::move(file), cache, {.read_only = true, .owner = cache.NewOwner()});
  ASSERT_FALSE(image.has_value());
  EXPECT_EQ(image.error().kind, ErrorKind::kUnsupported);
  EXPECT_TRUE(image.error().message.contains("external data file")) << image.error().message;
}

}  // namespace
}  // namespace chainfs
