// SPDX-License-Identifier: Apache-2.0
//
// New images that are preallocated: what qemu-img says of them, and of its own of the same options.
#include "blocklayer/formats/qcow2/preallocation.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "blocklayer/formats/qcow2/qcow2_image.h"
#include "blocklayer/io/posix.h"
#include "tests/support/command.h"
#include "tests/support/mem_host.h"
#include "tests/support/temp_dir.h"

namespace chainfs::qcow2 {
namespace {

constexpr uint64_t kDiskSize = (5 << 20) + 3 * 512;

struct Case {
  const char* name;
  Preallocation preallocation;
  const char* word;
  uint32_t version = 3;
  uint32_t cluster_bits = 16;
  uint32_t refcount_order = 4;
  bool extended_l2 = false;
  bool backing = false;
};
std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class PreallocationTest : public testing::TestWithParam<Case> {
 protected:
  std::string Run(const std::vector<std::string>& command) {
    const CommandResult result = RunCommand(command, {.working_directory = dir_.path()});
    EXPECT_TRUE(result.ok()) << result.Describe();
    return result.out;
  }
  uint64_t OccupiedBy(const std::string& name) {
    struct stat stat = {};
    EXPECT_EQ(::stat((dir_ / name).c_str(), &stat), 0);
    return static_cast<uint64_t>(stat.st_blocks) * 512;
  }

  const TempDir dir_;
};

TEST_P(PreallocationTest, IsLikeQemus) {
  const Case& c = GetParam();
  std::string options =
      fmt::format("preallocation={},compat={},cluster_size={},refcount_bits={}", c.word,
                  c.version == 3 ? "1.1" : "0.10", 1u << c.cluster_bits, 1u << c.refcount_order);
  if (c.extended_l2) options += ",extended_l2=on";
  std::vector<std::string> command = {"qemu-img", "create", "-q", "-f", "qcow2", "-o", options};
  if (c.backing) {
    Run({"qemu-img", "create", "-q", "-f", "raw", "base.raw", "6M"});
    Run({"qemu-io", "-f", "raw", "base.raw", "-c", "write -q -P 7 0 6M"});
    command.insert(command.end(), {"-b", "base.raw", "-F", "raw"});
  }
  command.insert(command.end(), {"theirs.qcow2", std::to_string(kDiskSize)});
  Run(command);

  const auto directory = OpenPosixDirectory(dir_.path());
  ASSERT_TRUE(directory);
  Qcow2CreateOptions create{.virtual_size = kDiskSize,
                            .version = c.version,
                            .cluster_bits = c.cluster_bits,
                            .refcount_order = c.refcount_order,
                            .extended_l2 = c.extended_l2,
                            .preallocation = c.preallocation};
  if (c.backing) create.backing = BackingReference{"base.raw", "raw"};
  const auto made = CreateQcow2(**directory, "ours.qcow2", create);
  ASSERT_TRUE(made) << made.error().message;

  Run({"qemu-img", "check", "ours.qcow2"});
  Run({"qemu-img", "compare", "ours.qcow2", "theirs.qcow2"});
  // The count of clusters in use, of which theirs may have more for its own tables.
  const std::string check = Run({"qemu-img", "check", "--output=json", "ours.qcow2"});
  const uint64_t clusters = DivRoundUp(kDiskSize, 1u << c.cluster_bits);
  EXPECT_TRUE(check.contains(fmt::format("\"allocated-clusters\": {},", clusters))) << check;
  if (c.preallocation != Preallocation::kMetadata) {
    EXPECT_GE(OccupiedBy("ours.qcow2"), kDiskSize);
  } else {
    EXPECT_LT(OccupiedBy("ours.qcow2") + kDiskSize / 2, (*made)->Size().value());
  }

  // And is written in place: by chainfs, and by QEMU.
  const uint64_t size_before = (*made)->Size().value();
  MetadataCache cache(1 << 20);
  auto file = (*directory)->Open("ours.qcow2", OpenMode::kReadWrite);
  ASSERT_TRUE(file);
  const auto image = OpenQcow2Image(*std::move(file), cache, {.owner = cache.NewOwner()});
  ASSERT_TRUE(image) << image.error().message;
  const std::vector<std::byte> data(1u << c.cluster_bits, std::byte{9});
  ASSERT_TRUE((*image)->Write(GuestOffset(1 << 20), data, nullptr));
  ASSERT_TRUE((*image)->Close());
  EXPECT_EQ((*made)->Size().value(), size_before);
  const std::string write = fmt::format("write -q -P 9 1M {}", uint64_t{1} << c.cluster_bits);
  Run({"qemu-io", "-f", "qcow2", "theirs.qcow2", "-c", write});
  Run({"qemu-io", "-f", "qcow2", "ours.qcow2", "-c", "write -q -P 4 3M 64k"});
  Run({"qemu-io", "-f", "qcow2", "theirs.qcow2", "-c", "write -q -P 4 3M 64k"});
  Run({"qemu-img", "compare", "ours.qcow2", "theirs.qcow2"});
  Run({"qemu-img", "check", "ours.qcow2"});
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, PreallocationTest,
    testing::Values(Case{"metadata", Preallocation::kMetadata, "metadata"},
                    Case{"metadata_v2", Preallocation::kMetadata, "metadata", 2},
                    Case{"metadata_512", Preallocation::kMetadata, "metadata", 3, 9, 6},
                    Case{"metadata_2M", Preallocation::kMetadata, "metadata", 3, 21},
                    Case{"metadata_extended", Preallocation::kMetadata, "metadata", 3, 16, 4, true},
                    Case{"metadata_backing", Preallocation::kMetadata, "metadata", 3, 14, 4, true,
                         true},
                    Case{"falloc", Preallocation::kFalloc, "falloc"},
                    Case{"falloc_backing", Preallocation::kFalloc, "falloc", 3, 16, 4, true, true},
                    Case{"full", Preallocation::kFull, "full", 3, 12, 0},
                    Case{"full_extended", Preallocation::kFull, "full", 3, 16, 4, true}),
    [](const auto& param) { return param.param.name; });

TEST(PreallocationRefusalTest, WhatCannotBeIsNamed) {
  const auto host = MemHost::Create();
  const auto refused = [&](const Qcow2CreateOptions& options, std::string_view says) {
    const auto made = CreateQcow2(*host->OpenRoot(), "a.qcow2", options);
    ASSERT_FALSE(made) << says;
    EXPECT_EQ(made.error().kind, ErrorKind::kInvalidArgument);
    EXPECT_TRUE(made.error().message.contains(says)) << made.error().message;
    EXPECT_FALSE(host->Exists("a.qcow2"));
  };
  refused({.virtual_size = 1 << 20,
           .backing = BackingReference{"b", "raw"},
           .preallocation = Preallocation::kMetadata},
          "only with extended L2");
  refused({.virtual_size = 64ull << 30,
           .cluster_bits = 9,
           .refcount_order = 6,
           .preallocation = Preallocation::kMetadata},
          "the refcount table may have 8 MiB");
}

// A host that cannot set space aside gets zeros written, and a full one fails without a file.
TEST(PreallocationRefusalTest, AFailureLeavesNoFile) {
  const auto host = MemHost::Create();
  const Qcow2CreateOptions options{.virtual_size = 3 << 20,
                                   .preallocation = Preallocation::kFalloc};
  ASSERT_TRUE(CreateQcow2(*host->OpenRoot(), "whole.qcow2", options));
  for (uint64_t skip = 0; skip < 8; ++skip) {
    const size_t fault =
        host->AddFault({.matches = On(HostOp::kWrite), .skip = skip, .error = ENOSPC});
    EXPECT_FALSE(CreateQcow2(*host->OpenRoot(), "a.qcow2", options)) << skip;
    EXPECT_GT(host->FaultHits(fault), 0u);
    EXPECT_FALSE(host->Exists("a.qcow2")) << skip;
  }
}

}  // namespace
}  // namespace chainfs::qcow2
