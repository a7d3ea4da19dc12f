// SPDX-License-Identifier: Apache-2.0
#include "jobs/mirror/intent_log.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "blocklayer/base/types.h"

namespace chainfs::jobs {

IntentLog::IntentLog(std::unique_ptr<IntentFile> file, std::function<Status()> revoke)
    : file_(std::move(file)),
      revoke_(std::move(revoke)),
      size_(file_->header().size),
      region_size_(file_->header().region),
      header_(file_->header()),
      regions_(file_->regions()),
      bits_(file_->sectors()),
      changed_sectors_(file_->sectors()) {}

Result<std::shared_ptr<IntentLog>> IntentLog::Load(std::unique_ptr<IntentFile> file, Bits bits,
                                                   std::function<Status()> revoke) {
  std::shared_ptr<IntentLog> log(new IntentLog(std::move(file), std::move(revoke)));
  const MutexLock lock(log->mu_);
  for (uint64_t sector = 0; sector < log->bits_.size(); ++sector) {
    if (bits == Bits::kCount) {
      CHAINFS_ASSIGN(log->bits_[sector], log->file_->ReadSector(sector));
    } else {
      log->bits_[sector].fill(bits == Bits::kAllSet ? std::byte{0xff} : std::byte{0});
      log->changed_sectors_[sector] = true;
    }
  }
  return log;
}

bool IntentLog::IsMarked(uint64_t region) const {
  const IntentFile::Sector& sector = bits_[region / IntentFile::kRegionsPerSector];
  const std::byte bits = sector[region % IntentFile::kRegionsPerSector / 8];
  return (bits >> (region % 8) & std::byte{1}) != std::byte{0};
}

void IntentLog::SetMark(uint64_t region, bool marked) {
  IntentFile::Sector& sector = bits_[region / IntentFile::kRegionsPerSector];
  std::byte& bits = sector[region % IntentFile::kRegionsPerSector / 8];
  const std::byte bit = std::byte{1} << (region % 8);
  bits = marked ? bits | bit : bits & ~bit;
  changed_sectors_[region / IntentFile::kRegionsPerSector] = true;
}

ChunkRange IntentLog::RangeOf(uint64_t region) const {
  const uint64_t offset = region * region_size_;
  return {offset, std::min(region_size_, size_ - offset)};
}

std::pair<uint64_t, uint64_t> IntentLog::RegionsOf(uint64_t offset, uint64_t length) const {
  if (offset >= size_ || length == 0) return {0, 0};
  const uint64_t end = offset + std::min(length, size_ - offset);
  return {offset / region_size_, DivRoundUp(end, region_size_)};
}

IntentHeader IntentLog::header() const {
  const MutexLock lock(mu_);
  return header_;
}

Status IntentLog::WriteHeader(const IntentHeader& header) {
  const MutexLock lock(mu_);
  while (writing_) changed_.Wait(mu_);
  CHAINFS_TRY(WriteBatch());
  if (revoked_) return {};
  // Others see writing_ unset only once mu_ is let go of.
  writing_ = true;
  mu_.Unlock();
  Status written = file_->WriteHeader(header);
  mu_.Lock();
  writing_ = false;
  if (written) header_ = header;
  changed_.NotifyAll();
  return written;
}

Status IntentLog::BeginWrite(uint64_t offset, uint64_t length) {
  const auto [first, end] = RegionsOf(offset, length);
  const MutexLock lock(mu_);
  uint64_t batch = 0;
  for (uint64_t r = first; r < end; ++r) {
    Region& region = regions_[r];
    ++region.in_flight;
    region.written = true;
    if (!IsMarked(r)) {
      SetMark(r, true);
      region.batch = open_batch_;
    }
    batch = std::max(batch, region.batch);
  }
  return WaitDurable(batch);
}

void IntentLog::EndWrite(uint64_t offset, uint64_t length) noexcept {
  const auto [first, end] = RegionsOf(offset, length);
  const MutexLock lock(mu_);
  for (uint64_t r = first; r < end; ++r) --regions_[r].in_flight;
}

void IntentLog::Hold(uint64_t offset, uint64_t length) {
  const auto [first, end] = RegionsOf(offset, length);
  const MutexLock lock(mu_);
  for (uint64_t r = first; r < end; ++r) regions_[r].held = true;
}

void IntentLog::MarkAll() {
  const MutexLock lock(mu_);
  for (uint64_t r = 0; r < regions_.size(); ++r) {
    if (IsMarked(r)) continue;
    SetMark(r, true);
    regions_[r].batch = open_batch_;
  }
}

std::vector<ChunkRange> IntentLog::Marked() const {
  const MutexLock lock(mu_);
  std::vector<ChunkRange> runs;
  for (uint64_t r = 0; r < regions_.size(); ++r) {
    if (!IsMarked(r)) continue;
    const ChunkRange range = RangeOf(r);
    if (!runs.empty() && runs.back().offset + runs.back().length == range.offset) {
      runs.back().length += range.length;
    } else {
      runs.push_back(range);
    }
  }
  return runs;
}

Status IntentLog::WaitDurable(uint64_t batch) {
  while (durable_batch_ < batch && !revoked_) {
    if (writing_) {
      changed_.Wait(mu_);
    } else {
      CHAINFS_TRY(WriteBatch());
    }
  }
  return {};
}

Status IntentLog::WriteBatch() {
  writing_ = true;
  const uint64_t batch = open_batch_++;
  Status written;
  for (uint64_t sector = 0; sector < bits_.size() && written; ++sector) {
    if (!changed_sectors_[sector]) continue;
    changed_sectors_[sector] = false;
    const IntentFile::Sector bits = bits_[sector];
    mu_.Unlock();
    written = file_->WriteSector(sector, bits);
    mu_.Lock();
    if (!written) changed_sectors_[sector] = true;
  }
  if (written) {
    mu_.Unlock();
    written = file_->Sync();
    mu_.Lock();
  }
  if (written) {
    durable_batch_ = batch;
  } else {
    spdlog::warn("the log of a mirror cannot be written, so it is given up: {}",
                 written.error().message);
    written = Revoke();
  }
  writing_ = false;
  changed_.NotifyAll();
  return written;
}

Status IntentLog::Revoke() {
  mu_.Unlock();
  Status revoked = revoke_();
  mu_.Lock();
  if (revoked) revoked_ = true;
  return revoked;
}

std::vector<uint64_t> IntentLog::BeginSweep(const IsSame& same) {
  std::vector<uint64_t> chosen;
  for (uint64_t r = 0; r < DivRoundUp(size_, region_size_); ++r) {
    const ChunkRange range = RangeOf(r);
    const MutexLock lock(mu_);
    if (revoked_) return {};
    Region& region = regions_[r];
    if (!IsMarked(r) || region.held || region.in_flight > 0) continue;
    if (!same(range.offset, range.length)) continue;
    region.written = false;
    chosen.push_back(r);
  }
  return chosen;
}

Status IntentLog::EndSweep(std::span<const uint64_t> regions) {
  const MutexLock lock(mu_);
  bool any = false;
  for (const uint64_t r : regions) {
    Region& region = regions_[r];
    if (region.written || region.held || region.in_flight > 0 || !IsMarked(r)) continue;
    SetMark(r, false);
    region.batch = 0;
    any = true;
  }
  if (!any || revoked_) return {};
  while (writing_) changed_.Wait(mu_);
  return WriteBatch();
}

}  // namespace chainfs::jobs
