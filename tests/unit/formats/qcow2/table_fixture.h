// SPDX-License-Identifier: Apache-2.0
//
// TableFixture: the tables of a small image in memory, for tests of the classes that work on them.
// With its clusters of 512 bytes a new image of 1 MiB is
//   0 header | 1 refcount table (64 entries) | 2 refcount block | 3 L1 table (32 entries)
// and everything from cluster 4 on is free.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/create.h"
#include "blocklayer/formats/qcow2/table_inventory.h"
#include "blocklayer/formats/qcow2/table_state.h"
#include "blocklayer/image/io_epoch.h"
#include "tests/support/mem_host.h"

namespace chainfs::qcow2 {

class TableFixture : public ::testing::Test {
 protected:
  static constexpr uint64_t kCluster = 512;
  static constexpr uint64_t kFirstFree = 4;
  static constexpr uint64_t kL2Span = 64 * kCluster;  // guest bytes that one L2 table maps

  // A fresh image, opened, its tables known.
  void Make(uint32_t version = 3, uint32_t refcount_order = 4) {
    Create(version, refcount_order);
    Open();
    ASSERT_TRUE(inventory_->PrepareForWriting());
  }
  void Create(uint32_t version = 3, uint32_t refcount_order = 4) {
    Qcow2CreateOptions options;
    options.virtual_size = 1 << 20;
    options.version = version;
    options.cluster_bits = 9;
    options.refcount_order = refcount_order;
    ASSERT_TRUE(CreateQcow2(*host_->OpenRoot(), "a.qcow2", options));
  }
  void Open() {
    inventory_.reset();
    tables_.reset();
    auto opened = host_->OpenRoot()->Open("a.qcow2", OpenMode::kReadWrite);
    ASSERT_TRUE(opened);
    file_ = *std::move(opened);
    const Result<Qcow2Header> header = ReadQcow2Header(*file_);
    ASSERT_TRUE(header) << header.error().message;
    tables_ = std::make_unique<TableState>(*file_, *file_, cache_, cache_.NewOwner(), *header);
    inventory_ = std::make_unique<TableInventory>(*tables_, cache_);
  }

  uint64_t OnDisk(uint64_t offset) {
    std::array<std::byte, 8> raw;
    EXPECT_TRUE(file_->ReadZeroFilled(HostOffset(offset), raw));
    return LoadBigEndian<uint64_t>(raw.data());
  }
  void Put(uint64_t offset, uint64_t value) {
    std::array<std::byte, 8> raw;
    StoreBigEndian(raw.data(), value);
    EXPECT_TRUE(file_->WriteAt(HostOffset(offset), raw));
  }
  // The refcount on disk, of the first block and 16 bits.
  uint64_t RefcountOnDisk(uint64_t cluster) { return OnDisk(2 * kCluster + cluster * 2) >> 48; }

  // From now on what changes the file is written down, as "write OFFSET", "sync" and so on.
  void StartLog() {
    host_->SetHook([this](const HostCall& call) {
      MutexLock lock(log_mu_);
      if (call.op == HostOp::kWrite) log_.push_back("write " + std::to_string(call.offset));
      if (call.op == HostOp::kZero) log_.push_back("zero " + std::to_string(call.offset));
      if (call.op == HostOp::kPunch) log_.push_back("punch " + std::to_string(call.offset));
      if (call.op == HostOp::kDataSync) log_.emplace_back("sync");
      return 0;
    });
  }
  std::vector<std::string> TakeLog() {
    MutexLock lock(log_mu_);
    return std::exchange(log_, {});
  }

  std::shared_ptr<MemHost> host_ = MemHost::Create();
  MetadataCache cache_{8 << 20};
  IoEpoch epoch_;
  std::unique_ptr<File> file_;
  std::unique_ptr<TableState> tables_;
  std::unique_ptr<TableInventory> inventory_;

 private:
  Mutex log_mu_;
  std::vector<std::string> log_ GUARDED_BY(log_mu_);
};

using Log = std::vector<std::string>;

}  // namespace chainfs::qcow2
