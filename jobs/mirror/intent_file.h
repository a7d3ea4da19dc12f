// SPDX-License-Identifier: Apache-2.0
//
// IntentFile: the write-intent log of a mirror as it lies on disk, SOURCE/.chainfs/intent-ID: which
// regions of the disk and its target may differ, so that another daemon need not copy them all.
//
// Layout: 512 bytes of text (a JSON object of strings, filled up with line ends) that say how far
// the rest counts; from byte 4096 on a bit for every region, the lowest bit of a byte first, set
// where the two may differ. The text and each sector of bits are written by one write of one
// sector, so a crash leaves the old or the new one.
//
// Threads: one at a time but for header(), which its writer keeps others from.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/catalog/record_store.h"
#include "blocklayer/io/recorded_file.h"

namespace chainfs::jobs {

inline constexpr std::string_view kIntentPrefix = "intent-";
// "intent-ID".
std::string IntentFileName(std::string_view job);
// Bytes per region of a disk of `size` bytes that is copied in units of `granularity` (a power of
// two): coarse enough that few writes find a region that is not marked yet.
uint64_t IntentRegionSize(uint64_t size, uint64_t granularity);

struct IntentHeader {
  enum class State : uint8_t {
    kMaking,     // the target is not certain to exist; the bits do not count
    kAllDiffer,  // any region may differ, whatever the bits say
    kMarked,     // no region differs but those that are marked
    kKept,       // the target was completed as the copy that it is; nothing is left to do
  };
  State state = State::kMaking;
  uint64_t size = 0;    // bytes of the disk
  uint64_t region = 0;  // bytes per region
  uint64_t inode = 0;   // the target's; 0: not known yet
  int64_t born = 0;     // when the target was made, in nanoseconds; 0: the host does not say
  bool made = false;    // the job made the target, and removes it when it fails
  bool operator==(const IntentHeader&) const = default;
  RecordedFile target() const { return {.inode = inode, .born = born}; }
};

class IntentFile {
 public:
  static constexpr size_t kSectorBytes = 512;
  static constexpr uint64_t kRegionsPerSector = kSectorBytes * 8;
  using Sector = std::array<std::byte, kSectorBytes>;

  // Durable on return, every region marked; in place of one that is there.
  static Status Make(RecordStore& store, const Disk& disk, std::string_view job,
                     const IntentHeader& header);
  // kNotFound; kInvalidFormat for one that makes no sense, kPermission for one that does not count.
  static Result<std::unique_ptr<IntentFile>> Open(RecordStore& store, const Disk& disk,
                                                  std::string_view job);

  const IntentHeader& header() const { return header_; }
  // Durable on return; its size and region stay.
  Status WriteHeader(const IntentHeader& header);
  uint64_t regions() const;
  uint64_t sectors() const;  // of bits
  Result<Sector> ReadSector(uint64_t sector);
  // Durable after Sync.
  Status WriteSector(uint64_t sector, const Sector& bits);
  Status Sync() { return file_->DataSync(); }

 private:
  IntentFile(std::unique_ptr<File> file, IntentHeader header)
      : file_(std::move(file)), header_(header) {}

  const std::unique_ptr<File> file_;
  IntentHeader header_;
};

}  // namespace chainfs::jobs
