// SPDX-License-Identifier: Apache-2.0
#include "tests/support/stamp.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace chainfs {
namespace {

constexpr uint64_t kMagic = 0x706d617473666863;  // "chfstamp"

struct StampHead {
  uint64_t magic;
  uint64_t lba;
  uint64_t sequence;
  uint32_t disk;
  uint32_t checksum;  // CRC-32 of the sector with this field zero
};
static_assert(sizeof(StampHead) == 32);

constexpr std::array<uint32_t, 256> MakeCrcTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0xedb88320u : 0);
    table[i] = crc;
  }
  return table;
}

uint32_t Crc32(std::span<const std::byte> data) {
  static constexpr std::array<uint32_t, 256> kTable = MakeCrcTable();
  uint32_t crc = 0xffffffff;
  for (const std::byte b : data) {
    crc = kTable[(crc ^ std::to_integer<uint32_t>(b)) & 0xff] ^ (crc >> 8);
  }
  return ~crc;
}

void Require(bool condition, const char* what) {
  if (condition) return;
  fmt::print(stderr, "test support: {}\n", what);
  std::abort();
}

bool Contains(const std::vector<uint64_t>& values, uint64_t value) {
  return std::ranges::find(values, value) != values.end();
}

std::string SequenceName(uint64_t sequence) {
  return sequence == 0 ? "zeros" : fmt::format("write {}", sequence);
}

}  // namespace

void FillStamp(const Stamp& stamp, std::span<std::byte> sector) {
  // The head again and again: each 32 bytes of the sector tell where they are from, even torn.
  const StampHead head = {.magic = kMagic,
                          .lba = stamp.lba,
                          .sequence = stamp.sequence,
                          .disk = stamp.disk,
                          .checksum = 0};
  for (size_t at = 0; at < kStampSize; at += sizeof head) {
    std::memcpy(sector.data() + at, &head, sizeof head);
  }
  const uint32_t checksum = Crc32(sector.first(kStampSize));
  std::memcpy(sector.data() + offsetof(StampHead, checksum), &checksum, sizeof checksum);
}

std::optional<Stamp> ParseStamp(std::span<const std::byte> sector) {
  StampHead head;
  std::memcpy(&head, sector.data(), sizeof head);
  if (head.magic != kMagic) return std::nullopt;
  const Stamp stamp = {.disk = head.disk, .lba = head.lba, .sequence = head.sequence};
  std::array<std::byte, kStampSize> expected;
  FillStamp(stamp, expected);
  if (!std::ranges::equal(expected, sector.first(kStampSize))) return std::nullopt;
  return stamp;
}

bool IsZero(std::span<const std::byte> data) {
  return std::ranges::all_of(data, [](std::byte b) { return b == std::byte{0}; });
}

SectorModel::SectorModel(uint32_t disk, uint64_t sectors, Clock clock)
    : disk_(disk), sectors_(sectors), clock_(std::move(clock)), state_(sectors) {}

void SectorModel::Preload(uint64_t lba, std::span<std::byte> data) {
  Require(data.size() % kStampSize == 0 && lba + data.size() / kStampSize <= sectors_,
          "Preload: not whole sectors of the disk");
  const MutexLock lock(mutex_);
  for (size_t at = 0; at < data.size(); at += kStampSize, ++lba) {
    state_[lba] = {.initial = next_sequence_++, .values = {}};
    FillStamp({.disk = disk_, .lba = lba, .sequence = state_[lba].initial},
              data.subspan(at, kStampSize));
  }
}

int64_t SectorModel::Now(const char* what, uint64_t lba, uint64_t count, bool raises) {
  if (!clock_) return static_cast<int64_t>(next_time_++);
  return static_cast<int64_t>(
      clock_(fmt::format("disk {}: {} {}+{}", disk_, what, lba, count), raises));
}

SectorModel::Ticket SectorModel::Begin(What what, uint64_t lba, uint64_t count,
                                       uint64_t first_sequence) {
  static constexpr const char* kNames[] = {"write", "zero", "discard", "flush"};
  Require(lba <= sectors_ && count <= sectors_ - lba, "SectorModel: beyond the end of the disk");
  const size_t index = operations_.size();
  operations_.push_back({.what = what,
                         .lba = lba,
                         .count = count,
                         .first_sequence = first_sequence,
                         .issued = Now(kNames[static_cast<size_t>(what)], lba, count, false)});
  for (uint64_t i = 0; i < count; ++i) {
    state_[lba + i].values.push_back(
        {.operation = index, .sequence = what == What::kWrite ? first_sequence + i : 0});
  }
  return {.index = index};
}

SectorModel::Ticket SectorModel::BeginWrite(uint64_t lba, std::span<std::byte> data) {
  Require(data.size() % kStampSize == 0, "BeginWrite: not whole sectors");
  const MutexLock lock(mutex_);
  const uint64_t count = data.size() / kStampSize;
  const uint64_t first = next_sequence_;
  next_sequence_ += count;
  for (uint64_t i = 0; i < count; ++i) {
    FillStamp({.disk = disk_, .lba = lba + i, .sequence = first + i},
              data.subspan(i * kStampSize, kStampSize));
  }
  return Begin(What::kWrite, lba, count, first);
}

SectorModel::Ticket SectorModel::BeginZero(uint64_t lba, uint64_t count) {
  const MutexLock lock(mutex_);
  return Begin(What::kZero, lba, count, 0);
}

SectorModel::Ticket SectorModel::BeginDiscard(uint64_t lba, uint64_t count) {
  const MutexLock lock(mutex_);
  return Begin(What::kDiscard, lba, count, 0);
}

SectorModel::Ticket SectorModel::BeginFlush() {
  const MutexLock lock(mutex_);
  return Begin(What::kFlush, 0, 0, 0);
}

void SectorModel::End(Ticket ticket) {
  const MutexLock lock(mutex_);
  Operation& operation = operations_.at(ticket.index);
  const bool is_flush = operation.what == What::kFlush;
  const int64_t now =
      Now(is_flush ? "flush returned" : "returned", operation.lba, operation.count, is_flush);
  operation.completed = now;
}

uint64_t SectorModel::BeginRead() {
  const MutexLock lock(mutex_);
  return static_cast<uint64_t>(Now("read", 0, 0, false));
}

int64_t SectorModel::FloorAt(int64_t point) const {
  int64_t floor = -1;
  for (const Operation& operation : operations_) {
    if (operation.what == What::kFlush && operation.completed < point) {
      floor = std::max(floor, operation.issued);
    }
  }
  return floor;
}

std::vector<uint64_t> SectorModel::Allowed(int64_t floor, int64_t until, uint64_t lba) const {
  const Sector& sector = state_[lba];
  // The latest issue among writes that count as over by the floor: whatever completed before that
  // is superseded.
  int64_t superseding = -1;
  for (const Value& value : sector.values) {
    const Operation& operation = operations_[value.operation];
    if (operation.what != What::kDiscard && operation.completed <= floor) {
      superseding = std::max(superseding, operation.issued);
    }
  }
  std::vector<uint64_t> allowed;
  if (superseding < 0) allowed.push_back(sector.initial);
  for (const Value& value : sector.values) {
    const Operation& operation = operations_[value.operation];
    if (operation.issued >= until || operation.completed < superseding) continue;
    if (!Contains(allowed, value.sequence)) allowed.push_back(value.sequence);
  }
  return allowed;
}

std::string SectorModel::Explain(int64_t floor, int64_t until, uint64_t lba,
                                 std::span<const std::byte> sector) const {
  std::vector<std::string> names;
  for (const uint64_t one : Allowed(floor, until, lba)) names.push_back(SequenceName(one));
  const std::string expected = fmt::format("{}", fmt::join(names, " or "));
  std::string found = "neither zeros nor an intact stamp";
  if (IsZero(sector)) {
    found = "zeros that nobody wrote since the last flush";
  } else if (const std::optional<Stamp> stamp = ParseStamp(sector); stamp) {
    if (stamp->disk != disk_) {
      found = fmt::format("a sector of disk {} (lba {})", stamp->disk, stamp->lba);
    } else if (stamp->lba != lba) {
      found = fmt::format("the content of lba {} (write {})", stamp->lba, stamp->sequence);
    } else {
      found = fmt::format("write {}, which is {}", stamp->sequence,
                          stamp->sequence < next_sequence_ ? "too old, or was never issued by then"
                                                           : "from nowhere");
    }
  }
  return fmt::format("disk {} lba {}: found {}; expected {}", disk_, lba, found, expected);
}

bool SectorModel::IsMixOf(const std::vector<uint64_t>& allowed, uint64_t lba,
                          std::span<const std::byte> sector) const {
  std::vector<std::array<std::byte, kStampSize>> values(allowed.size());  // zeros
  for (size_t i = 0; i < allowed.size(); ++i) {
    if (allowed[i] != 0) FillStamp({.disk = disk_, .lba = lba, .sequence = allowed[i]}, values[i]);
  }
  for (size_t at = 0; at < kStampSize; ++at) {
    if (std::ranges::none_of(values, [&](const auto& v) { return v[at] == sector[at]; })) {
      return false;
    }
  }
  return true;
}

std::string SectorModel::Check(int64_t floor, int64_t until, uint64_t lba,
                               std::span<const std::byte> data, Torn torn) const {
  Require(data.size() % kStampSize == 0 && lba + data.size() / kStampSize <= sectors_,
          "SectorModel: not whole sectors of the disk");
  std::string wrong;
  for (size_t at = 0; at < data.size(); at += kStampSize, ++lba) {
    const std::span<const std::byte> sector = data.subspan(at, kStampSize);
    const std::vector<uint64_t> allowed = Allowed(floor, until, lba);
    const std::optional<Stamp> stamp = ParseStamp(sector);
    const bool fits = stamp ? stamp->disk == disk_ && stamp->lba == lba && stamp->sequence != 0 &&
                                  Contains(allowed, stamp->sequence)
                            : IsZero(sector) && Contains(allowed, uint64_t{0});
    if (fits || (torn == Torn::kAllowed && IsMixOf(allowed, lba, sector))) continue;
    if (!wrong.empty()) wrong += '\n';
    wrong += Explain(floor, until, lba, sector);
    if (wrong.size() > 4000) return wrong + "\n...";
  }
  return wrong;
}

std::string SectorModel::CheckCrash(uint64_t point, uint64_t lba,
                                    std::span<const std::byte> data) const {
  const MutexLock lock(mutex_);
  const int64_t until = static_cast<int64_t>(std::min<uint64_t>(point, INT64_MAX));
  return Check(FloorAt(until), until, lba, data, Torn::kRefused);
}

std::string SectorModel::CheckRead(uint64_t begin, uint64_t lba,
                                   std::span<const std::byte> data) const {
  const MutexLock lock(mutex_);
  return Check(static_cast<int64_t>(begin), INT64_MAX, lba, data, Torn::kAllowed);
}

void SectorModel::AcceptAsDurable(uint64_t lba, std::span<const std::byte> data) {
  const MutexLock lock(mutex_);
  for (size_t at = 0; at < data.size(); at += kStampSize, ++lba) {
    const std::optional<Stamp> stamp = ParseStamp(data.subspan(at, kStampSize));
    state_[lba] = {.initial = stamp ? stamp->sequence : 0, .values = {}};
  }
}

}  // namespace chainfs
