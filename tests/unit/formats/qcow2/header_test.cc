// SPDX-License-Identifier: Apache-2.0
//
// Reading sound headers: images that qemu-img makes over all its options must be read as qemu-img
// describes them. Damaged ones are in tests/format/bad_header_test.cc.
#include "blocklayer/formats/qcow2/header.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs::qcow2 {
namespace {

class QemuHeaderTest : public testing::Test {
 protected:
  // An image of 10 MiB made by qemu-img with `options`.
  Result<Qcow2Header> Make(const std::string& options, const std::vector<std::string>& more = {}) {
    std::vector<std::string> command{"qemu-img", "create", "-f", "qcow2", "-o", options};
    command.insert(command.end(), more.begin(), more.end());
    command.insert(command.end(), {temp_ / "a.qcow2", "10M"});
    const CommandResult made = RunCommand(command);
    EXPECT_TRUE(made.ok()) << made.Describe();
    const auto directory = OpenPosixDirectory(temp_.path());
    if (!directory) return std::unexpected(directory.error());
    const auto file = (*directory)->Open("a.qcow2", OpenMode::kReadOnly);
    if (!file) return std::unexpected(file.error());
    Result<Qcow2Header> header = ReadQcow2Header(**file);
    EXPECT_TRUE(header.has_value()) << options << ": " << header.error().message;
    return header;
  }

  const TempDir temp_;
};

TEST_F(QemuHeaderTest, ClusterSizes) {
  for (uint32_t bits = 9; bits <= 21; ++bits) {
    for (const char* compat : {"0.10", "1.1"}) {
      const Result<Qcow2Header> header =
          Make("cluster_size=" + std::to_string(1u << bits) + ",compat=" + compat);
      ASSERT_TRUE(header.has_value());
      EXPECT_EQ(header->cluster_bits, bits);
      EXPECT_EQ(header->version, compat == std::string("0.10") ? 2u : 3u);
      EXPECT_EQ(header->virtual_size(), 10u << 20);
      EXPECT_EQ(header->refcount_order, 4u);
      EXPECT_EQ(header->backing, std::nullopt);
      EXPECT_EQ(header->read_only_reason, std::nullopt);
      EXPECT_GE(header->l1_entries, header->l1_entries_needed());
    }
  }
}

TEST_F(QemuHeaderTest, RefcountWidths) {
  for (uint32_t order = 0; order <= 6; ++order) {
    const Result<Qcow2Header> header = Make("refcount_bits=" + std::to_string(1u << order));
    ASSERT_TRUE(header.has_value());
    EXPECT_EQ(header->refcount_order, order);
  }
}

TEST_F(QemuHeaderTest, Features) {
  Result<Qcow2Header> header = Make("compression_type=zstd,lazy_refcounts=on");
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->compression_type, kCompressionZstd);
  EXPECT_EQ(header->incompatible, kIncompatibleCompressionType);
  EXPECT_EQ(header->compatible, kCompatibleLazyRefcounts);
  header = Make("compression_type=zlib");
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->compression_type, kCompressionZlib);
  EXPECT_EQ(header->incompatible, 0u);
}

TEST_F(QemuHeaderTest, BackingFile) {
  WriteTextFile(temp_ / "base.raw", std::string(4096, 'b'));
  for (const char* size : {"512", "4096", "65536", "2097152"}) {
    const Result<Qcow2Header> header =
        Make(std::string("cluster_size=") + size, {"-b", "base.raw", "-F", "raw"});
    ASSERT_TRUE(header.has_value());
    ASSERT_TRUE(header->backing.has_value());
    EXPECT_EQ(header->backing->name, "base.raw");
    EXPECT_EQ(header->backing->format, "raw");
  }
}

TEST_F(QemuHeaderTest, BackingFileWithoutFormatIsNotGuessed) {
  WriteTextFile(temp_ / "base.raw", std::string(4096, 'b'));
  ASSERT_TRUE(Make("cluster_size=64K").has_value());
  const CommandResult rebased =
      RunCommand({"qemu-img", "rebase", "-u", "-b", "base.raw", temp_ / "a.qcow2"});
  if (!rebased.ok()) {
    // Newer ones insist on a format; then there is nothing to read.
    EXPECT_TRUE(rebased.err.contains("format")) << rebased.Describe();
    return;
  }
  const auto directory = OpenPosixDirectory(temp_.path());
  ASSERT_TRUE(directory.has_value());
  const auto file = (*directory)->Open("a.qcow2", OpenMode::kReadOnly);
  ASSERT_TRUE(file.has_value());
  const Result<Qcow2Header> header = ReadQcow2Header(**file);
  ASSERT_TRUE(header.has_value()) << header.error().message;
  ASSERT_TRUE(header->backing.has_value());
  EXPECT_EQ(header->backing->format, std::nullopt);
}

// The bytes that reading a header may touch are bounded, whatever its extensions say.
TEST(HeaderTest, ReadsBoundedBytes) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  ASSERT_TRUE(CreateQcow2(*directory, "a.qcow2", {.virtual_size = 1 << 20, .cluster_bits = 21}));
  auto file = directory->Open("a.qcow2", OpenMode::kReadWrite);
  ASSERT_TRUE(file.has_value());
  // One extension that is as long as it may be.
  std::vector<std::byte> extension(8);
  StoreBigEndian(extension.data(), 0x77777777u);
  StoreBigEndian(extension.data() + 4, (2u << 20) - 112 - 16);
  ASSERT_TRUE((*file)->WriteAt(HostOffset(112), extension));
  uint64_t last_byte = 0;
  host->SetHook([&](const HostCall& call) {
    if (call.op == HostOp::kRead) last_byte = std::max(last_byte, call.offset + call.length);
    return 0;
  });
  const Result<Qcow2Header> header = ReadQcow2Header(**file);
  ASSERT_TRUE(header.has_value()) << header.error().message;
  EXPECT_LE(last_byte, 4u << 20);
}

TEST(HeaderTest, UnalignedSizeCountsWholeSectors) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  ASSERT_TRUE(CreateQcow2(*directory, "a.qcow2", {.virtual_size = 1 << 20}));
  auto file = directory->Open("a.qcow2", OpenMode::kReadWrite);
  ASSERT_TRUE(file.has_value());
  std::vector<std::byte> size(8);
  StoreBigEndian(size.data(), uint64_t{(1 << 20) - 1});
  ASSERT_TRUE((*file)->WriteAt(HostOffset(kOffsetSize), size));
  const Result<Qcow2Header> header = ReadQcow2Header(**file);
  ASSERT_TRUE(header.has_value());
  EXPECT_EQ(header->size, (1u << 20) - 1);
  EXPECT_EQ(header->virtual_size(), (1u << 20) - 512);
}

TEST(HeaderTest, IoErrorsAreNotTakenForDamage) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  ASSERT_TRUE(CreateQcow2(*directory, "a.qcow2", {.virtual_size = 1 << 20}));
  auto file = directory->Open("a.qcow2", OpenMode::kReadOnly);
  ASSERT_TRUE(file.has_value());
  host->AddFault({.matches = On(HostOp::kRead)});
  const Result<Qcow2Header> header = ReadQcow2Header(**file);
  ASSERT_FALSE(header.has_value());
  EXPECT_EQ(header.error().kind, ErrorKind::kIo);
}

}  // namespace
}  // namespace chainfs::qcow2
