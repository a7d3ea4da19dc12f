// SPDX-License-Identifier: Apache-2.0
#include "tests/vm/table_load.h"

#include <fcntl.h>
#include <unistd.h>

#include <memory>

namespace chainfs::guest {
namespace {

// So that others get their turn on the one processor of the guest.
constexpr std::chrono::microseconds kPause{300};
constexpr uint64_t kWritesPerFlush = 64;

}  // namespace

void TableLoad::Start() {
  fd_ = ::open(path_.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd_ < 0) Fail(path_);
  stop_ = false;
  writer_ = std::thread([this] { WriteLoop(); });
  reader_ = std::thread([this] { ReadLoop(); });
}

void TableLoad::Stop() {
  stop_ = true;
  if (writer_.joinable()) writer_.join();
  if (reader_.joinable()) reader_.join();
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void TableLoad::WriteLoop() {
  const auto buffer = std::make_unique<Block>();
  for (uint64_t number = written_ + 1; !stop_; ++number) {
    const uint64_t block = BlockOfWrite(number);
    FillBlock(block, number, buffer->bytes);
    begun_[block] = number;
    {
      const Timed timed(writes_);
      const auto at = static_cast<off_t>(block * kBlockSize);
      if (::pwrite(fd_, buffer->bytes.data(), kBlockSize, at) != ssize_t{kBlockSize}) {
        Fail("write " + std::to_string(number) + " of the table");
      }
    }
    if (number % kWritesPerFlush == 0) {
      const Timed timed(flushes_);
      if (::fdatasync(fd_) != 0) Fail("flush of the table");
    }
    ended_[block] = number;
    written_ = number;
    std::this_thread::sleep_for(kPause);
  }
}

void TableLoad::CheckBlock(uint64_t block, Block& buffer) {
  // A read beside a write may see some of each, as with any file: look again.
  for (;;) {
    const uint64_t first = ended_[block];
    {
      const Timed timed(reads_);
      const auto at = static_cast<off_t>(block * kBlockSize);
      if (::pread(fd_, buffer.bytes.data(), kBlockSize, at) != ssize_t{kBlockSize}) {
        Fail("read of block " + std::to_string(block) + " of the table");
      }
    }
    const uint64_t last = begun_[block];
    const std::optional<uint64_t> found = WriteOfBlock(block, buffer.bytes);
    if (found && *found >= first && *found <= last) return;
    if (first != last && !found) continue;
    errno = 0;
    Fail("block " + std::to_string(block) + " of the table holds " +
         (found ? "write " + std::to_string(*found) : "what nobody wrote") + ", not write " +
         std::to_string(first) + " to " + std::to_string(last));
  }
}

void TableLoad::ReadLoop() {
  const auto buffer = std::make_unique<Block>();
  for (uint64_t i = 0; !stop_; ++i) {
    CheckBlock(Mix(~i) % kTableBlocks, *buffer);
    std::this_thread::sleep_for(kPause);
  }
}

void TableLoad::Verify() {
  const auto buffer = std::make_unique<Block>();
  for (uint64_t block = 0; block < kTableBlocks; ++block) CheckBlock(block, *buffer);
}

}  // namespace chainfs::guest
