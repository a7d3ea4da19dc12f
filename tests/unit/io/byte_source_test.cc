// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/io/byte_source.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "tests/support/mem_host.h"

namespace chainfs {
namespace {

// Ten bytes that lie in no file.
class TenBytes final : public ByteSource {
 public:
  TenBytes() : ByteSource("ten") {}
  Result<size_t> ReadAt(HostOffset offset, std::span<std::byte> out) override {
    const size_t left = offset.value < 10 ? 10 - offset.value : 0;
    const size_t read = std::min(left, out.size());
    std::ranges::fill(out.first(read), std::byte{7});
    return read;
  }
};

TEST(ByteSource, WhatLiesPastTheEndIsZero) {
  TenBytes source;
  std::vector<std::byte> out(8, std::byte{9});
  ASSERT_TRUE(source.ReadZeroFilled(HostOffset(6), out));
  for (size_t i = 0; i < out.size(); ++i)
    EXPECT_EQ(out[i], std::byte{i < 4 ? uint8_t{7} : uint8_t{0}});
  ASSERT_TRUE(source.ReadZeroFilled(HostOffset(100), out));
  EXPECT_TRUE(std::ranges::all_of(out, [](std::byte b) { return b == std::byte{0}; }));
}

TEST(ByteSource, OnlyAFileOfTheHostHasOne) {
  TenBytes source;
  EXPECT_EQ(source.host_file(), nullptr);
  const auto file = MemHost::Create()->OpenRoot()->Create("a", 0644).value();
  ByteSource& as_source = *file;
  EXPECT_EQ(as_source.host_file(), file.get());
}

}  // namespace
}  // namespace chainfs
