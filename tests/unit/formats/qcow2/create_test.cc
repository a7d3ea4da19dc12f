// SPDX-License-Identifier: Apache-2.0
//
// New images, over cluster sizes, refcount widths and versions: qemu-img finds nothing to complain
// of and sees what was asked for, and so does our own reading. What cannot be made is refused by
// name, and a creation that fails leaves no file.
#include "blocklayer/formats/qcow2/create.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "blocklayer/formats/qcow2/header.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/crash_enumerator.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs::qcow2 {
namespace {

class CreateMatrixTest : public testing::TestWithParam<uint32_t> {
 protected:
  void SetUp() override {
    auto opened = OpenPosixDirectory(temp_.path());
    ASSERT_TRUE(opened.has_value());
    directory_ = std::move(*opened);
    WriteTextFile(temp_ / "base.raw", std::string(4096, 'b'));
  }

  void ExpectSound(const Qcow2CreateOptions& options) {
    SCOPED_TRACE("version " + std::to_string(options.version) + ", refcount order " +
                 std::to_string(options.refcount_order) + ", size " +
                 std::to_string(options.virtual_size));
    const auto created = CreateQcow2(*directory_, "a.qcow2", options);
    ASSERT_TRUE(created) << created.error().message;
    const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", temp_ / "a.qcow2"});
    EXPECT_TRUE(check.ok()) << check.Describe();
    EXPECT_TRUE(check.out.contains("No errors were found")) << check.Describe();
    ExpectInfo(options);
    ExpectHeader(options);
    EXPECT_TRUE(directory_->Remove("a.qcow2"));
  }

 private:
  void ExpectInfo(const Qcow2CreateOptions& options) {
    const CommandResult info =
        RunCommand({"qemu-img", "info", "--output=json", "-f", "qcow2", temp_ / "a.qcow2"});
    ASSERT_TRUE(info.ok()) << info.Describe();
    const auto says = [&](const std::string& text) {
      EXPECT_TRUE(info.out.contains(text)) << text << " in " << info.out;
    };
    says("\"virtual-size\": " + std::to_string(RoundUp(options.virtual_size, 512)) + ",");
    says("\"cluster-size\": " + std::to_string(1u << options.cluster_bits) + ",");
    says(options.version == 3 ? "\"compat\": \"1.1\"" : "\"compat\": \"0.10\"");
    if (options.version == 3) {
      says("\"refcount-bits\": " + std::to_string(1u << options.refcount_order));
      says(options.lazy_refcounts ? "\"lazy-refcounts\": true" : "\"lazy-refcounts\": false");
      says(options.zstd ? "\"compression-type\": \"zstd\"" : "\"compression-type\": \"zlib\"");
      says(options.extended_l2 ? "\"extended-l2\": true" : "\"extended-l2\": false");
    }
    if (options.backing) {
      says("\"backing-filename\": \"" + options.backing->name + "\"");
      says("\"backing-filename-format\": \"" + *options.backing->format + "\"");
    }
  }

  void ExpectHeader(const Qcow2CreateOptions& options) {
    const auto file = directory_->Open("a.qcow2", OpenMode::kReadOnly);
    ASSERT_TRUE(file.has_value());
    const Result<Qcow2Header> header = ReadQcow2Header(**file);
    ASSERT_TRUE(header.has_value()) << header.error().message;
    EXPECT_EQ(header->virtual_size(), RoundUp(options.virtual_size, 512));
    EXPECT_EQ(header->version, options.version);
    EXPECT_EQ(header->cluster_bits, options.cluster_bits);
    EXPECT_EQ(header->refcount_order, options.refcount_order);
    EXPECT_EQ(header->backing, options.backing);
    EXPECT_EQ(header->read_only_reason, std::nullopt);
    EXPECT_EQ(header->compression_type, options.zstd ? kCompressionZstd : kCompressionZlib);
    EXPECT_EQ((header->compatible & kCompatibleLazyRefcounts) != 0, options.lazy_refcounts);
  }

  const TempDir temp_;
  std::unique_ptr<Directory> directory_;
};

TEST_P(CreateMatrixTest, QemuImgFindsNothingWrong) {
  const uint32_t bits = GetParam();
  // What the largest L1 table of our choice maps; with small clusters that is little.
  const uint64_t large = (1ull << (2 * bits - 3)) * 40000;
  for (const uint64_t size : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 20, large}) {
    ExpectSound({.virtual_size = size, .version = 2, .cluster_bits = bits});
    for (const uint32_t order : {0u, 1u, 2u, 3u, 4u, 5u, 6u}) {
      // Not everything with everything: each is a run of qemu-img.
      if (size != large && order % 3 != 0) continue;
      ExpectSound({.virtual_size = size,
                   .cluster_bits = bits,
                   .refcount_order = order,
                   .lazy_refcounts = order % 2 == 0,
                   .zstd = order > 2,
                   .extended_l2 = bits >= 14 && order % 2 != 0,
                   .backing = BackingReference{"base.raw", "raw"}});
    }
  }
}

INSTANTIATE_TEST_SUITE_P(ClusterBits, CreateMatrixTest,
                         testing::Values(9u, 10u, 11u, 12u, 13u, 14u, 16u, 21u));

TEST(CreateTest, LargestL1Table) {
  // 512-byte clusters: 32 MiB of L1 table map 128 GiB; then it ends.
  const TempDir temp;
  const auto directory = OpenPosixDirectory(temp.path());
  ASSERT_TRUE(directory.has_value());
  Qcow2CreateOptions options{.virtual_size = 128ull << 30, .cluster_bits = 9, .refcount_order = 6};
  const auto created = CreateQcow2(**directory, "a.qcow2", options);
  ASSERT_TRUE(created) << created.error().message;
  const CommandResult check = RunCommand({"qemu-img", "check", "-f", "qcow2", temp / "a.qcow2"});
  EXPECT_TRUE(check.ok()) << check.Describe();

  options.virtual_size += 512;
  const auto refused = CreateQcow2(**directory, "b.qcow2", options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidArgument);
  EXPECT_TRUE(refused.error().message.contains("32 MiB")) << refused.error().message;
  EXPECT_TRUE(refused.error().message.contains("137438953472")) << refused.error().message;
}

TEST(CreateTest, OptionsOutOfRangeAreNamed) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  const auto refused = [&](const Qcow2CreateOptions& options, std::string_view says) {
    const auto status = CreateQcow2(*directory, "a.qcow2", options);
    ASSERT_FALSE(status) << says;
    EXPECT_EQ(status.error().kind, ErrorKind::kInvalidArgument) << says;
    EXPECT_TRUE(status.error().message.contains(says)) << status.error().message;
    EXPECT_TRUE(status.error().message.contains("/a.qcow2")) << status.error().message;
    EXPECT_FALSE(host->Exists("a.qcow2"));
  };
  refused({.version = 1}, "version 1");
  refused({.version = 4}, "version 4");
  refused({.cluster_bits = 8}, "cluster size of 2^8");
  refused({.cluster_bits = 22}, "cluster size of 2^22");
  refused({.refcount_order = 7}, "refcount width of 2^7");
  refused({.version = 2, .refcount_order = 3}, "16-bit refcounts");
  refused({.version = 2, .lazy_refcounts = true}, "lazy refcounts");
  refused({.version = 2, .zstd = true}, "zstd");
  refused({.version = 2, .extended_l2 = true}, "extended L2 entries need qcow2 version 3");
  refused({.cluster_bits = 13, .extended_l2 = true}, "at least 16384 bytes");
  refused({.virtual_size = UINT64_MAX}, "too large");
  refused({.virtual_size = 1ull << 63, .cluster_bits = 21}, "too large");
  refused({.backing = BackingReference{"b", std::nullopt}}, "format of the backing");
  refused({.backing = BackingReference{"", "raw"}}, "empty");
  refused({.backing = BackingReference{"a:b", "raw"}}, "protocol");
  refused({.backing = BackingReference{std::string(1024, 'x'), "raw"}}, "1024 bytes");
  refused({.cluster_bits = 9, .backing = BackingReference{std::string(377, 'x'), "raw"}},
          "room for 376");
}

TEST(CreateTest, LongestNames) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  for (const auto& [bits, length] :
       {std::pair{9u, 376u}, std::pair{10u, 888u}, std::pair{11u, 1023u}, std::pair{16u, 1023u}}) {
    const std::string name = "a" + std::to_string(bits);
    const BackingReference backing{std::string(length, 'n'), "qcow2"};
    const auto status = CreateQcow2(
        *directory, name, {.virtual_size = 1 << 20, .cluster_bits = bits, .backing = backing});
    ASSERT_TRUE(status) << status.error().message;
    const auto file = directory->Open(name, OpenMode::kReadOnly);
    const Result<Qcow2Header> header = ReadQcow2Header(**file);
    ASSERT_TRUE(header.has_value()) << header.error().message;
    EXPECT_EQ(header->backing, backing);
  }
}

TEST(CreateTest, AnExistingFileIsLeftAlone) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  host->PutFile("a.qcow2", std::vector<std::byte>(100, std::byte{7}));
  const auto status = CreateQcow2(*directory, "a.qcow2", {.virtual_size = 1 << 20});
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kExists);
  EXPECT_EQ(host->Contents("a.qcow2").size(), 100u);
}

TEST(CreateTest, AFailureAtAnyCallLeavesNoFile) {
  uint64_t failures = 0;
  for (uint64_t skip = 0;; ++skip) {
    const auto host = MemHost::Create();
    const auto directory = host->OpenRoot();
    const size_t fault = host->AddFault({.matches = IsMutation, .skip = skip, .error = ENOSPC});
    const Status status = [&]() -> Status {
      CHAINFS_TRY(CreateQcow2(*directory, "a.qcow2",
                              {.virtual_size = 1 << 20, .backing = BackingReference{"b", "raw"}}));
      return {};
    }();
    const bool struck = host->FaultHits(fault) > 0;
    EXPECT_EQ(status.has_value(), !struck);
    EXPECT_EQ(host->Exists("a.qcow2"), !struck) << "call " << skip;
    EXPECT_EQ(host->OpenFiles(), 0u);
    if (!struck) break;
    EXPECT_EQ(status.error().kind, ErrorKind::kNoSpace) << status.error().message;
    ++failures;
  }
  EXPECT_GE(failures, 6u);
}

TEST(CreateTest, ACrashLeavesNothingOrAnImage) {
  const auto host = MemHost::Create();
  const Qcow2CreateOptions options{.virtual_size = 1 << 20,
                                   .cluster_bits = 12,
                                   .backing = BackingReference{std::string(600, 'n'), "raw"}};
  host->StartRecording();
  ASSERT_TRUE(CreateQcow2(*host->OpenRoot(), "a.qcow2", options));
  CrashEnumerator crash(host->StopRecording());
  const std::vector<std::byte> whole = host->Contents("a.qcow2");
  crash.ForEachState([&](const CrashState& state) {
    const auto found = state.MakeHost();
    const bool exists = found->Exists("a.qcow2");
    EXPECT_TRUE(exists || state.point + 1 < crash.points()) << state.Describe();
    if (!exists) return true;
    const auto file = found->OpenRoot()->Open("a.qcow2", OpenMode::kReadOnly);
    // Whatever passes for an image is the whole one.
    if (ReadQcow2Header(**file)) {
      EXPECT_TRUE(found->Contents("a.qcow2") == whole) << state.Describe();
    }
    return !testing::Test::HasFailure();
  });
  EXPECT_GT(crash.visited(), 10u);
}

TEST(CreateTest, InASubdirectory) {
  const auto host = MemHost::Create();
  const auto directory = host->OpenRoot();
  ASSERT_TRUE(directory->MakeDirectory("sub", 0755));
  const auto status = CreateQcow2(*directory, "sub/a.qcow2", {.virtual_size = 1 << 20});
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(host->Exists("sub/a.qcow2"));
}

}  // namespace
}  // namespace chainfs::qcow2
