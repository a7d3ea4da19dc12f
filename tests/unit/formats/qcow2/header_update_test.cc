// SPDX-License-Identifier: Apache-2.0
//
// Changing the backing file in the header: on every kind of image that qemu-img makes, judged by
// qemu-img; and at every crash point of the change, where the header must be the old or the new.
#include "blocklayer/formats/qcow2/header_update.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs::qcow2 {
namespace {

using Bytes = std::vector<std::byte>;
using Backing = std::optional<BackingReference>;

// ---- Crash points, in memory.

Bytes Created(const Qcow2CreateOptions& options) {
  const auto host = MemHost::Create();
  const auto created = CreateQcow2(*host->OpenRoot(), "a.qcow2", options);
  EXPECT_TRUE(created) << created.error().message;
  return host->Contents("a.qcow2");
}

Result<Qcow2Header> ReadIn(const std::shared_ptr<MemHost>& host) {
  auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
  if (!file) return std::unexpected(file.error());
  return ReadQcow2Header(**file);
}

// Changes the backing file of `image` from what it is to `to` and looks at every crash state.
// Returns the image as changed.
Bytes ExpectAtomic(const Bytes& image, const Backing& to) {
  const auto host = MemHost::Create();
  host->PutFile("a.qcow2", image);
  const Result<Qcow2Header> before = ReadIn(host);
  EXPECT_TRUE(before.has_value()) << before.error().message;
  const Backing from = before->backing;
  host->StartRecording();
  {
    auto file = host->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    EXPECT_TRUE(file.has_value());
    Qcow2Header header = *before;
    const Status can = CanSetBacking(**file, header, to);
    EXPECT_TRUE(can) << can.error().message;
    const Status set = SetBackingInHeader(**file, header, to);
    EXPECT_TRUE(set) << set.error().message;
    EXPECT_EQ(header.backing, to);
    host->Mark("done");
  }
  CrashEnumerator crash(host->StopRecording());
  crash.ForEachState([&](const CrashState& state) {
    const Result<Qcow2Header> found = ReadIn(state.MakeHost());
    EXPECT_TRUE(found.has_value()) << state.Describe() << found.error().message;
    if (!found) return false;
    const bool durable = state.point + 1 == crash.points();
    EXPECT_TRUE(found->backing == to || (found->backing == from && !durable)) << state.Describe();
    EXPECT_EQ(found->size, before->size);
    EXPECT_EQ(found->l1_offset, before->l1_offset);
    EXPECT_EQ(found->incompatible, before->incompatible);
    EXPECT_EQ(found->compatible, before->compatible);
    return !testing::Test::HasFailure();
  });
  EXPECT_GT(crash.visited(), 0u);
  return host->Contents("a.qcow2");
}

class CrashTest : public testing::TestWithParam<std::tuple<uint32_t, uint32_t>> {
 protected:
  uint32_t version() const { return std::get<0>(GetParam()); }
  uint32_t cluster_bits() const { return std::get<1>(GetParam()); }
  Bytes Image(const Backing& backing) const {
    return Created({.virtual_size = 1 << 20,
                    .version = version(),
                    .cluster_bits = cluster_bits(),
                    .backing = backing});
  }
};

TEST_P(CrashTest, HeaderIsTheOldOrTheNew) {
  const Backing raw = BackingReference{"base.raw", "raw"};
  Bytes image = Image(raw);
  image = ExpectAtomic(image, BackingReference{"dir/other.qcow2", "qcow2"});
  image = ExpectAtomic(image, BackingReference{"dir/other.qcow2", "raw"});
  image = ExpectAtomic(image, std::nullopt);
  image = ExpectAtomic(image, BackingReference{"/again/from/nothing.raw", "raw"});
  image = ExpectAtomic(image, BackingReference{"without-format", std::nullopt});
  ExpectAtomic(image, raw);
}

TEST_P(CrashTest, NamesThatDoNotFitTheFirstSectorTakeTurns) {
  // As long as two of them fit, on 512-byte clusters within the only sector there is.
  const size_t cluster = size_t{1} << cluster_bits();
  const size_t room = cluster_bits() == 9 ? 376 : cluster - 512;
  const size_t length = std::min<size_t>(1023, RoundDown(room / 2, 8) - 8);
  Bytes image = Image(BackingReference{std::string(length, 'a'), "raw"});
  for (const char c : {'b', 'c', 'd'}) {
    image = ExpectAtomic(image, BackingReference{std::string(length, c), "qcow2"});
    image = ExpectAtomic(image, BackingReference{std::string(length / 3 * 2, c), "raw"});
  }
  image = ExpectAtomic(image, BackingReference{"short", "raw"});
  ExpectAtomic(image, BackingReference{std::string(length, 'e'), "raw"});
}

TEST_P(CrashTest, FromAnImageWithoutBackingFile) {
  const Bytes image = ExpectAtomic(Image(std::nullopt), BackingReference{"new.qcow2", "qcow2"});
  ExpectAtomic(image, std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(All, CrashTest,
                         testing::Combine(testing::Values(2u, 3u),
                                          testing::Values(9u, 10u, 11u, 12u, 16u)),
                         [](const auto& tested) {
                           return "V" + std::to_string(std::get<0>(tested.param)) + "_Bits" +
                                  std::to_string(std::get<1>(tested.param));
                         });

// ---- Refusals.

struct Opened {
  std::shared_ptr<MemHost> host;
  std::unique_ptr<Directory> directory;
  std::unique_ptr<File> file;
  Qcow2Header header;
};

Opened Open(const Bytes& image) {
  Opened opened{MemHost::Create(), nullptr, nullptr, {}};
  opened.host->PutFile("a.qcow2", image);
  opened.directory = opened.host->OpenRoot();
  opened.file = std::move(*opened.directory->Open("a.qcow2", OpenMode::kReadWrite));
  const Result<Qcow2Header> header = ReadQcow2Header(*opened.file);
  EXPECT_TRUE(header.has_value()) << header.error().message;
  if (header) opened.header = *header;
  return opened;
}

void ExpectRefused(const Bytes& image, const Backing& to, ErrorKind kind, std::string_view says) {
  const Opened opened = Open(image);
  Qcow2Header header = opened.header;
  const Status can = CanSetBacking(*opened.file, header, to);
  ASSERT_FALSE(can);
  EXPECT_EQ(ErrorKindName(can.error().kind), ErrorKindName(kind)) << can.error().message;
  EXPECT_TRUE(can.error().message.contains(says)) << can.error().message;
  EXPECT_FALSE(SetBackingInHeader(*opened.file, header, to));
  EXPECT_EQ(header.backing, opened.header.backing);
  EXPECT_TRUE(opened.host->Contents("a.qcow2") == image);
}

TEST(RefusalTest, NamesAndFormatsThatNoHeaderHolds) {
  const Bytes image = Created({.virtual_size = 1 << 20});
  const auto refused = [&](std::string name, std::string format, std::string_view says) {
    ExpectRefused(image, BackingReference{std::move(name), std::move(format)},
                  ErrorKind::kInvalidArgument, says);
  };
  refused("", "raw", "empty");
  refused(std::string(1024, 'x'), "raw", "1024 bytes");
  refused(std::string("a\0b", 3), "raw", "NUL");
  refused("json:{}", "raw", "protocol");
  refused("nbd://host", "raw", "protocol");
  refused("a:b", "raw", "protocol");
  refused("a", "", "format");
  refused("a", "0123456789abcdef", "format");
  ExpectAtomic(image, BackingReference{"./a:b", "raw"});
  ExpectAtomic(image, BackingReference{"dir/a:b", "raw"});
}

TEST(RefusalTest, NameLongerThanTheCluster) {
  const Bytes image = Created({.virtual_size = 1 << 20, .cluster_bits = 9});
  ExpectRefused(image, BackingReference{std::string(400, 'x'), "raw"}, ErrorKind::kInvalidArgument,
                "room for 376 only");
  ExpectAtomic(image, BackingReference{std::string(376, 'x'), "raw"});
}

TEST(RefusalTest, NoRoomBesideTheOldName) {
  const Bytes image = Created({.virtual_size = 1 << 20,
                               .cluster_bits = 10,
                               .backing = BackingReference{std::string(500, 'a'), "raw"}});
  ExpectRefused(image, BackingReference{std::string(500, 'b'), "raw"}, ErrorKind::kUnsupported,
                "qemu-img rebase -u");
}

size_t PutExtension(Bytes& image, size_t offset, uint32_t type, std::string_view data) {
  StoreBigEndian(image.data() + offset, type);
  StoreBigEndian(image.data() + offset + 4, static_cast<uint32_t>(data.size()));
  std::memcpy(image.data() + offset + 8, data.data(), data.size());
  return offset + 8 + RoundUp(data.size(), 8);
}

TEST(RefusalTest, NoRoomForTheFormatInTheFirstSector) {
  Bytes image = Created({.virtual_size = 1 << 20});
  PutExtension(image, 112, 0x77777777, std::string(380, 'u'));
  ExpectRefused(image, BackingReference{"b", "raw"}, ErrorKind::kUnsupported, "no room");
  PutExtension(image, 112, 0x77777777, std::string(600, 'u'));
  ExpectRefused(image, BackingReference{"b", "raw"}, ErrorKind::kUnsupported,
                "pass the first 512 bytes");
  // Without a format the extensions need not change.
  ExpectAtomic(image, BackingReference{"b", std::nullopt});
}

TEST(RefusalTest, PoisonedFile) {
  const Opened opened = Open(Created({.virtual_size = 1 << 20}));
  opened.host->AddFault({.matches = On(HostOp::kDataSync)});
  EXPECT_FALSE(opened.file->DataSync());
  Qcow2Header header = opened.header;
  const Status status = SetBackingInHeader(*opened.file, header, BackingReference{"b", "raw"});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kIo);
  EXPECT_FALSE(WriteFeatureBits(*opened.file, header, kIncompatibleDirty, 0));
}

// ---- What must be preserved.

TEST(PreserveTest, UnknownExtensionsAndHeaderTail) {
  Bytes image = Created({.virtual_size = 1 << 20, .backing = BackingReference{"b", "raw"}});
  // A header of 128 bytes with 16 that we do not know, and two unknown extensions.
  StoreBigEndian(image.data() + kOffsetHeaderLength, uint32_t{128});
  std::memset(image.data() + 112, 0, 400);
  std::memset(image.data() + 112, 0x5a, 16);
  size_t at = PutExtension(image, 128, 0x77777777, "first unknown");
  at = PutExtension(image, at, kExtensionBackingFormat, "raw");
  const size_t second = at;
  at = PutExtension(image, at, 0x77777777, "second");
  StoreBigEndian(image.data() + kOffsetBackingOffset, uint64_t{500});
  image[500] = std::byte{'b'};

  Bytes after = ExpectAtomic(image, BackingReference{"c", "qcow2"});
  EXPECT_EQ(std::memcmp(&after[112], &image[112], 40), 0);
  EXPECT_EQ(std::memcmp(&after[second], &image[second], at - second + 8), 0);
  // Without a format the second one moves up, whole.
  after = ExpectAtomic(after, BackingReference{"c", std::nullopt});
  EXPECT_EQ(std::memcmp(&after[112], &image[112], 40), 0);
  EXPECT_EQ(std::memcmp(&after[second - 16], &image[second], at - second + 8), 0);
  after = ExpectAtomic(after, std::nullopt);
  EXPECT_EQ(std::memcmp(&after[112], &image[112], 40), 0);
  EXPECT_EQ(std::memcmp(&after[second - 16], &image[second], at - second + 8), 0);
}

TEST(PreserveTest, ExtensionsThatOnlyTheNameEnds) {
  Bytes image = Created({.virtual_size = 1 << 20, .backing = BackingReference{"base", "raw"}});
  // The name directly behind the format, without an end mark.
  StoreBigEndian(image.data() + kOffsetBackingOffset, uint64_t{128});
  std::memcpy(image.data() + 128, "base", 4);
  ExpectAtomic(image, std::nullopt);
  ExpectAtomic(image, BackingReference{"other", "qcow2"});
  ExpectAtomic(image, BackingReference{"base", "qcow2"});
}

TEST(PreserveTest, NoEndMarkBehindTheFirstSector) {
  Bytes image = Created({.virtual_size = 1 << 20, .backing = BackingReference{"base", "raw"}});
  const size_t end = PutExtension(image, 128, 0x77777777, std::string(600, 'u'));
  StoreBigEndian(image.data() + kOffsetBackingOffset, uint64_t{end});
  std::memcpy(image.data() + end, "base", 4);
  ExpectRefused(image, std::nullopt, ErrorKind::kUnsupported, "no end mark");
}

TEST(FeatureBitsTest, OneSectorWrite) {
  const Opened opened = Open(Created({.virtual_size = 1 << 20}));
  Qcow2Header header = opened.header;
  opened.host->StartRecording();
  ASSERT_TRUE(WriteFeatureBits(*opened.file, header, kIncompatibleDirty, 0));
  const auto recording = opened.host->StopRecording();
  EXPECT_EQ(recording->events.size(), 1u);
  EXPECT_TRUE(header.dirty());
  const Result<Qcow2Header> read = ReadQcow2Header(*opened.file);
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(read->dirty());
}

TEST(FeatureBitsTest, Version2HasNone) {
  const Opened opened = Open(Created({.virtual_size = 1 << 20, .version = 2}));
  Qcow2Header header = opened.header;
  EXPECT_TRUE(WriteFeatureBits(*opened.file, header, 0, 0));
  EXPECT_FALSE(WriteFeatureBits(*opened.file, header, kIncompatibleDirty, 0));
}

// ---- Images of qemu-img, judged by qemu-img.

struct QemuCase {
  std::string name;
  std::string options;
  bool with_format = true;
};
void PrintTo(const QemuCase& c, std::ostream* out) { *out << c.name; }

std::vector<QemuCase> QemuCases() {
  std::vector<QemuCase> cases;
  for (const std::string cluster : {"512", "1K", "2K", "4K", "8K", "64K", "2M"}) {
    cases.push_back({"V2_" + cluster, "compat=0.10,cluster_size=" + cluster});
    cases.push_back({"V3_" + cluster, "compat=1.1,cluster_size=" + cluster});
    cases.push_back({"V3_NoFormat_" + cluster, "compat=1.1,cluster_size=" + cluster, false});
    cases.push_back({"Lazy_" + cluster, "lazy_refcounts=on,cluster_size=" + cluster});
    cases.push_back({"Zstd_" + cluster, "compression_type=zstd,cluster_size=" + cluster});
  }
  return cases;
}

class QemuImageTest : public testing::TestWithParam<QemuCase> {
 protected:
  void SetUp() override {
    for (const char* name : {"base.raw", "long-name-of-another-base.raw"}) {
      Run({"qemu-img", "create", "-f", "raw", temp_ / name, "1M"});
    }
    Run({"qemu-img", "create", "-f", "qcow2", temp_ / "base.qcow2", "1M"});
    if (GetParam().with_format) {
      Run({"qemu-img", "create", "-f", "qcow2", "-o", GetParam().options, "-b", "base.raw", "-F",
           "raw", temp_ / "a.qcow2", "1M"});
    } else {
      // An image that never had a backing file, and so no format in its header.
      Run({"qemu-img", "create", "-f", "qcow2", "-o", GetParam().options, temp_ / "a.qcow2", "1M"});
    }
  }

  static std::string Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command);
    EXPECT_TRUE(result.ok()) << result.Describe();
    return result.out;
  }

  void ChangeTo(const Backing& to) {
    SCOPED_TRACE(to ? to->name : "none");
    const auto directory = OpenPosixDirectory(temp_.path());
    ASSERT_TRUE(directory.has_value());
    const auto file = (*directory)->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(file.has_value()) << file.error().message;
    Result<Qcow2Header> header = ReadQcow2Header(**file);
    ASSERT_TRUE(header.has_value()) << header.error().message;
    const Status set = SetBackingInHeader(**file, *header, to);
    ASSERT_TRUE(set) << set.error().message;
    const Result<Qcow2Header> again = ReadQcow2Header(**file);
    ASSERT_TRUE(again.has_value()) << again.error().message;
    EXPECT_EQ(again->backing, to);
    EXPECT_EQ(again->backing_offset, header->backing_offset);

    const std::string info =
        Run({"qemu-img", "info", "--output=json", "-f", "qcow2", temp_ / "a.qcow2"});
    if (to) {
      EXPECT_TRUE(info.contains("\"backing-filename\": \"" + to->name + "\"")) << info;
      EXPECT_TRUE(info.contains("\"backing-filename-format\": \"" + *to->format + "\"")) << info;
    } else {
      EXPECT_FALSE(info.contains("\"backing-filename\"")) << info;
    }
    Run({"qemu-img", "check", "-f", "qcow2", temp_ / "a.qcow2"});
  }

  const TempDir temp_;
};

TEST_P(QemuImageTest, BackingFileChangesAndGoes) {
  ChangeTo(BackingReference{"base.qcow2", "qcow2"});
  ChangeTo(BackingReference{"long-name-of-another-base.raw", "raw"});
  ChangeTo(std::nullopt);
  ChangeTo(BackingReference{"base.qcow2", "qcow2"});
  // qemu-img still finds everything that it needs to change it itself.
  Run({"qemu-img", "rebase", "-u", "-F", "raw", "-b", "base.raw", temp_ / "a.qcow2"});
  ChangeTo(BackingReference{"base.qcow2", "qcow2"});
  ChangeTo(std::nullopt);
}

INSTANTIATE_TEST_SUITE_P(All, QemuImageTest, testing::ValuesIn(QemuCases()),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace chainfs::qcow2
