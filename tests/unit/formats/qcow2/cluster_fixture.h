// SPDX-License-Identifier: Apache-2.0
//
// ClusterFixture: what moves the data of a small image, over its tables (table_fixture.h).
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "blocklayer/formats/qcow2/cluster_populator.h"
#include "blocklayer/formats/qcow2/cluster_reader.h"
#include "blocklayer/formats/qcow2/cluster_writer.h"
#include "blocklayer/formats/qcow2/cluster_zeroer.h"
#include "blocklayer/formats/qcow2/image_tables.h"
#include "blocklayer/image/range_lock.h"
#include "tests/unit/formats/qcow2/table_fixture.h"

namespace chainfs::qcow2 {

using Bytes = std::vector<std::byte>;

inline Bytes Filled(size_t length, uint8_t value) { return Bytes(length, std::byte{value}); }

// A backing file full of one byte.
class FullOf : public BackingReader {
 public:
  explicit FullOf(uint8_t value) : value_{value} {}
  Status ReadBelow(GuestOffset /*offset*/, std::span<std::byte> out) const override {
    std::ranges::fill(out, value_);
    return {};
  }

 private:
  const std::byte value_;
};

class ClusterFixture : public TableFixture {
 protected:
  void MakeAll(uint32_t version = 3, bool with_backing = false, uint32_t refcount_order = 4) {
    Create(version, refcount_order);
    Open();
    inventory_.reset();
    tables_.reset();
    all_ = std::make_unique<ImageTables>(*file_, *file_, cache_, cache_.NewOwner(), epoch_,
                                         *ReadQcow2Header(*file_));
    ASSERT_TRUE(all_->inventory().PrepareForWriting());
    reader_ = std::make_unique<ClusterReader>(*file_, *all_, kCompressionZlib);
    writer_ = std::make_unique<ClusterWriter>(*file_, *all_, *reader_, range_lock_, epoch_);
    populator_ = std::make_unique<ClusterPopulator>(*file_, *all_, range_lock_, epoch_);
    zeroer_ = std::make_unique<ClusterZeroer>(*all_, *writer_, range_lock_, with_backing);
  }

  ClusterMapping MappingOf(uint64_t guest) { return *all_->l2().Lookup(GuestOffset(guest)); }
  // What the image shows: its own bytes, or those of `below`.
  Bytes Shown(uint64_t guest, size_t length, const BackingReader* below = nullptr) {
    Bytes shown;
    while (shown.size() < length) {
      const uint64_t at = guest + shown.size();
      const size_t piece = std::min<size_t>(length - shown.size(), kCluster - at % kCluster);
      Bytes bytes(piece);
      EXPECT_TRUE(reader_->ReadBefore(MappingOf(at), GuestOffset(at), bytes, below));
      shown.insert(shown.end(), bytes.begin(), bytes.end());
    }
    return shown;
  }

  RangeLock range_lock_;
  std::unique_ptr<ImageTables> all_;
  std::unique_ptr<ClusterReader> reader_;
  std::unique_ptr<ClusterWriter> writer_;
  std::unique_ptr<ClusterPopulator> populator_;
  std::unique_ptr<ClusterZeroer> zeroer_;
};

}  // namespace chainfs::qcow2
