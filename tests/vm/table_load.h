// SPDX-License-Identifier: Apache-2.0
//
// One thread that overwrites blocks of the table past the page cache, and one that reads them and
// knows what they must hold.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "tests/vm/console.h"
#include "tests/vm/guest_data.h"

namespace chainfs::guest {

class TableLoad {
 public:
  // `directory`: that of the table, which holds kTableBlocks blocks of write 0 at first.
  explicit TableLoad(std::string directory) : path_(std::move(directory) + "/" + kTableName) {}

  void Start();
  // Both threads are gone afterwards, and the file is closed.
  void Stop();
  // Reads every block. Fails the guest if one is not as it was written last.
  void Verify();
  // The last write that has ended.
  uint64_t written() const { return written_; }
  Longest& writes() { return writes_; }
  Longest& reads() { return reads_; }
  Longest& flushes() { return flushes_; }

 private:
  struct alignas(kBlockSize) Block {
    std::array<std::byte, kBlockSize> bytes;
  };

  void WriteLoop();
  void ReadLoop();
  void CheckBlock(uint64_t block, Block& buffer);

  const std::string path_;
  int fd_ = -1;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> written_ = 0;
  // By block: the last write of it that was begun, that has ended.
  std::array<std::atomic<uint64_t>, kTableBlocks> begun_ = {};
  std::array<std::atomic<uint64_t>, kTableBlocks> ended_ = {};
  Longest writes_;
  Longest reads_;
  Longest flushes_;
  std::thread writer_;
  std::thread reader_;
};

}  // namespace chainfs::guest
