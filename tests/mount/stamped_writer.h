// SPDX-License-Identifier: Apache-2.0
//
// StampedWriter: a guest. A thread that writes stamps, zeroes and flushes a flat disk, reads some
// of it back, and keeps the SectorModel up to date, until it is stopped or the disk fails (the
// daemon was killed).
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <semaphore>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "tests/mount/images.h"
#include "tests/support/stamp.h"

namespace chainfs {

class StampedWriter {
 public:
  // `flags` of open: O_DIRECT for what the page cache must not stand between.
  StampedWriter(const std::string& disk, SectorModel& model, Random random, int flags = O_DIRECT)
      : model_(model), random_(random), file_(disk, O_RDWR | flags) {
    EXPECT_TRUE(file_.valid()) << disk << ": " << std::strerror(errno);
    thread_ = std::thread([this] { Loop(); });
  }
  ~StampedWriter() { Stop(); }
  StampedWriter(const StampedWriter&) = delete;
  StampedWriter& operator=(const StampedWriter&) = delete;

  // Waits for the thread; the errno that ended it, or 0.
  int Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    file_.Close();
    return error_;
  }
  // For a disk whose daemon was killed: waits until the thread has seen that, as it does at its
  // next operation; the errno.
  int WaitForFailure() {
    EXPECT_TRUE(Eventually([&] { return error_ != 0; })) << "the disk goes on after " << count_;
    return Stop();
  }
  // No operation is under way on return, and none begins before Go, from any thread.
  void Hold() { turn_.acquire(); }
  void Go() { turn_.release(); }
  // Operations done.
  uint64_t count() const { return count_; }
  // Waits until so many more are done (or it has failed).
  void WaitForMore(uint64_t operations) const {
    const uint64_t enough = count_ + operations;
    EXPECT_TRUE(Eventually([&] { return count_ >= enough || error_ != 0; }));
  }

 private:
  static constexpr size_t kMostSectors = 40;

  void Loop() {
    for (bool fine = true; fine && !stop_;) {
      turn_.acquire();
      fine = Step();
      turn_.release();
      if (fine) ++count_;
    }
  }

  // False once the disk has failed.
  bool Step() {
    const uint64_t count = 1 + random_.Below(kMostSectors);
    const uint64_t lba = random_.Below(model_.sectors() - count);
    switch (random_.Below(40)) {
      case 0:
        return Flush();
      case 1:
      case 2:
        return Zero(lba, count);
      case 3:
      case 4:
      case 5:
        return Read(lba, count);
      default:
        return Write(lba, count);
    }
  }
  // A buffered write or read that fails after some of its pages gives a short count and no errno.
  bool Failed(ssize_t done = -1) {
    error_ = done >= 0 ? EIO : errno;
    return false;
  }
  bool Write(uint64_t lba, uint64_t count) {
    const std::span<std::byte> data = Buffer(count);
    const SectorModel::Ticket ticket = model_.BeginWrite(lba, data);
    const ssize_t put = ::pwrite(file_.get(), data.data(), data.size(), Offset(lba));
    if (put != static_cast<ssize_t>(data.size())) return Failed(put);
    model_.End(ticket);
    return true;
  }
  bool Zero(uint64_t lba, uint64_t count) {
    const SectorModel::Ticket ticket = model_.BeginZero(lba, count);
    const int mode =
        (random_.OneIn(2) ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE;
    if (::fallocate(file_.get(), mode, Offset(lba), Offset(count)) != 0) return Failed();
    model_.End(ticket);
    return true;
  }
  bool Flush() {
    const SectorModel::Ticket ticket = model_.BeginFlush();
    if (::fdatasync(file_.get()) != 0) return Failed();
    model_.End(ticket);
    return true;
  }
  bool Read(uint64_t lba, uint64_t count) {
    const std::span<std::byte> data = Buffer(count);
    const uint64_t begin = model_.BeginRead();
    const ssize_t got = ::pread(file_.get(), data.data(), data.size(), Offset(lba));
    if (got != static_cast<ssize_t>(data.size())) return Failed(got);
    const std::string wrong = model_.CheckRead(begin, lba, data);
    if (!wrong.empty()) {
      ADD_FAILURE() << "read of the running disk: " << wrong;
      errno = EILSEQ;
      return Failed();
    }
    return true;
  }

  static off_t Offset(uint64_t sectors) { return static_cast<off_t>(sectors * kStampSize); }
  std::span<std::byte> Buffer(uint64_t sectors) {
    return std::as_writable_bytes(std::span(buffer_)).first(sectors * kStampSize);
  }

  SectorModel& model_;
  Random random_;
  OpenedFile file_;
  std::binary_semaphore turn_{1};
  alignas(4096) char buffer_[kMostSectors * kStampSize] = {};
  std::atomic<bool> stop_ = false;
  std::atomic<int> error_ = 0;
  std::atomic<uint64_t> count_ = 0;
  std::thread thread_;
};

// A chain that a model knows: NAMES from base to active layer in `dir`, each with stamps of its own
// here and there. The first may be raw; it stands on `below` if that is given.
inline void MakeStampedChain(const std::string& dir, const std::vector<std::string>& names,
                             SectorModel& model, Random& random, std::string below = "") {
  constexpr uint64_t kPiece = 1024;  // sectors
  const TempDir making;
  for (const std::string& name : names) {
    const std::string size = std::to_string(model.sectors() * kStampSize);
    if (FormatOfImage(name) == "raw") {
      MustRun({"qemu-img", "create", "-q", "-f", "raw", dir + "/" + name, size});
    } else {
      const std::string backing_format = FormatOfImage(below);
      CreateQcow2(dir + "/" + name,
                  {.size = size, .backing = below, .backing_format = backing_format});
    }
    std::vector<std::string> commands;
    for (int i = 0; i < 6; ++i) {
      const uint64_t lba = random.Below(model.sectors() - kPiece);
      std::vector<std::byte> data(kPiece * kStampSize);
      model.Preload(lba, data);
      const std::string piece = making / name + std::to_string(i);
      std::ofstream(piece, std::ios::binary)
          .write(reinterpret_cast<const char*>(data.data()),
                 static_cast<std::streamsize>(data.size()));
      commands.push_back("write -s " + piece + " " + std::to_string(lba * kStampSize) + " " +
                         std::to_string(data.size()));
    }
    QemuIo(dir + "/" + name, FormatOfImage(name), commands);
    below = name;
  }
}

// Whether every sector of a raw file holds what the model allows after all that has happened.
inline void ExpectAllowed(const std::string& raw, const SectorModel& model) {
  const std::string bytes = ReadTextFile(raw);
  ASSERT_EQ(bytes.size(), model.sectors() * kStampSize);
  EXPECT_EQ(model.CheckCrash(UINT64_MAX, 0, std::as_bytes(std::span(bytes))), "");
}

}  // namespace chainfs
