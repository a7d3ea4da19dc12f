// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/header_peek.h"

#include <gtest/gtest.h>

#include <array>

#include "blocklayer/base/endian.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/header.h"
#include "tests/support/mem_host.h"

namespace chainfs::qcow2 {
namespace {

class HeaderPeekTest : public ::testing::Test {
 protected:
  std::unique_ptr<File> Create(const std::optional<BackingReference>& backing = {},
                               uint32_t version = 3) {
    Qcow2CreateOptions options;
    options.virtual_size = 1 << 20;
    options.version = version;
    options.backing = backing;
    auto file = CreateQcow2(*host_->OpenRoot(), "a.qcow2", options);
    EXPECT_TRUE(file) << file.error().message;
    return *std::move(file);
  }
  std::shared_ptr<MemHost> host_ = MemHost::Create();
};

TEST_F(HeaderPeekTest, SaysWhatTheImageIsBuiltOn) {
  for (const uint32_t version : {2u, 3u}) {
    const BackingReference backing{.name = "base.qcow2", .format = "qcow2"};
    const auto file = Create(backing, version);
    const Result<HeaderPeek> peek = PeekQcow2Header(*file);
    ASSERT_TRUE(peek);
    EXPECT_EQ(peek->backing, backing);
    EXPECT_FALSE(peek->dirty);
    EXPECT_TRUE(BeginsLikeQcow2(*file));
    ASSERT_TRUE(host_->OpenRoot()->Remove("a.qcow2"));
  }
}

TEST_F(HeaderPeekTest, SaysWhatOpeningWouldRefuse) {
  const auto file = Create(BackingReference{.name = "base.raw", .format = "raw"});
  std::array<std::byte, 8> raw;
  StoreBigEndian(raw.data(), kIncompatibleDirty | 1ull << 40);  // of the future
  ASSERT_TRUE(file->WriteAt(HostOffset(kOffsetIncompatible), raw));
  EXPECT_FALSE(ReadQcow2Header(*file));
  const Result<HeaderPeek> peek = PeekQcow2Header(*file);
  ASSERT_TRUE(peek);
  EXPECT_EQ(peek->backing->name, "base.raw");
  EXPECT_TRUE(peek->dirty);
}

TEST_F(HeaderPeekTest, OtherFilesAreNone) {
  for (const size_t length : {0u, 3u, 71u, 4096u}) {
    host_->PutFile("b", std::vector<std::byte>(length, std::byte{1}));
    const auto file = *host_->OpenRoot()->Open("b", OpenMode::kReadOnly);
    const Result<HeaderPeek> peek = PeekQcow2Header(*file);
    ASSERT_TRUE(peek);
    EXPECT_FALSE(peek->backing);
    EXPECT_FALSE(peek->dirty);
    EXPECT_FALSE(BeginsLikeQcow2(*file));
  }
}

TEST_F(HeaderPeekTest, ANameThatLiesOutsideTheFileIsNone) {
  const auto file = Create(BackingReference{.name = "base.raw", .format = "raw"});
  std::array<std::byte, 8> raw;
  for (const uint64_t offset : {uint64_t{1} << 20, uint64_t{1} << 40}) {
    StoreBigEndian(raw.data(), offset);
    ASSERT_TRUE(file->WriteAt(HostOffset(kOffsetBackingOffset), raw));
    const Result<HeaderPeek> peek = PeekQcow2Header(*file);
    ASSERT_TRUE(peek);
    EXPECT_FALSE(peek->backing);
  }
}

}  // namespace
}  // namespace chainfs::qcow2
