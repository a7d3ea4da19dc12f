// SPDX-License-Identifier: Apache-2.0
//
// MemorySink: a buffer as a sink, which notes what was done to each of its clusters.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "jobs/copy/copy_sink.h"

namespace chainfs::jobs {

class MemorySink final : public CopySink {
 public:
  MemorySink(std::vector<std::byte> contents, uint64_t cluster_size)
      : bytes_(std::move(contents)),
        cluster_size_(cluster_size),
        done_((bytes_.size() + cluster_size - 1) / cluster_size, '.') {}

  bool can_share = true;
  uint64_t not_taken_before = 0;  // clusters that begin before this byte are not taken
  bool fail_writes = false;
  int refused_shares = 0;

  const std::vector<std::byte>& bytes() const { return bytes_; }
  // A letter per cluster: '.' nothing, 'w' written, 's' shared, 'z' zeroed.
  const std::string& done() const { return done_; }

  uint64_t cluster_size() const override { return cluster_size_; }
  Result<CopyRange> Taken(uint64_t begin, uint64_t end) override {
    return CopyRange{std::clamp(not_taken_before, begin, end), end};
  }
  Status Write(GuestOffset offset, std::span<const std::byte> data) override {
    if (fail_writes) return Fail(ErrorKind::kNoSpace, "the test says so");
    Note(offset, data.size(), 'w');
    std::ranges::copy(data, bytes_.begin() + static_cast<int64_t>(offset.value));
    return {};
  }
  Status Zero(GuestOffset offset, uint64_t length) override {
    Note(offset, length, 'z');
    std::ranges::fill(std::span(bytes_).subspan(offset.value, length), std::byte{0});
    return {};
  }
  Status Share(GuestOffset offset, uint64_t length, File& file, HostOffset place) override {
    if (!can_share) {
      ++refused_shares;
      return Fail(ErrorKind::kUnsupported, "the test says so");
    }
    Note(offset, length, 's');
    return file.ReadZeroFilled(place, std::span(bytes_).subspan(offset.value, length));
  }

 private:
  void Note(GuestOffset offset, uint64_t length, char what) {
    ASSERT_EQ(offset.Within(cluster_size_), 0u);
    const uint64_t end = offset.value + length;
    ASSERT_TRUE(end % cluster_size_ == 0 || end == bytes_.size()) << end;
    for (uint64_t at = offset.value; at < end; at += cluster_size_) {
      done_[at / cluster_size_] = what;
    }
  }

  std::vector<std::byte> bytes_;
  const uint64_t cluster_size_;
  std::string done_;
};

}  // namespace chainfs::jobs
