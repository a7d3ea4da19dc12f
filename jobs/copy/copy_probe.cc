// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/copy_probe.h"

#include <fcntl.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "blocklayer/catalog/roots.h"
#include "blocklayer/io/posix_file.h"

namespace chainfs::jobs {
namespace {

constexpr uint64_t kMostSampled = 64 << 20;
constexpr uint64_t kSampledAtOnce = 16 << 20;  // of one range
constexpr uint64_t kSampleStep = 1 << 20;
constexpr std::chrono::milliseconds kLongestSampling{500};

// It never has a name, so nothing of it is left, however this ends. Null where it cannot be made,
// or would take more than a tenth of what is free.
std::unique_ptr<File> MakeScratch(const std::optional<std::string>& path) {
  if (!path) return nullptr;
  struct statvfs host = {};
  if (::statvfs(path->c_str(), &host) != 0) return nullptr;
  if (uint64_t{host.f_bavail} * host.f_frsize < 10 * kMostSampled) return nullptr;
  UniqueFd file(::open(path->c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file.valid()) return nullptr;
  return std::make_unique<PosixFile>(*path, std::move(file), true, true);
}

}  // namespace

std::optional<std::string> ProbeDirectory(const Catalog& catalog, const std::string& file) {
  const CatalogOptions& options = catalog.options();
  if (options.read_only || options.open_directory) return std::nullopt;
  return DirectoryOf(file);
}

CopyProbe::CopyProbe(const CopySource& source, CopySink& sink, CopySelection selection,
                     const std::optional<std::string>& directory, Image* replaced)
    : scratch_(sink, MakeScratch(directory)),
      copier_(source, scratch_, selection),
      replaced_(replaced) {}

Result<uint64_t> CopyProbe::Gained(uint64_t offset, uint64_t length, uint64_t copied) const {
  if (replaced_ == nullptr) return copied;
  const uint64_t end = std::min(offset + length, replaced_->virtual_size());
  uint64_t held = 0;
  for (uint64_t at = offset; at < end;) {
    CHAINFS_ASSIGN(const Extent extent,
                   replaced_->Map(GuestOffset(at), end - at, MapDetail::kPrecise));
    const uint64_t run = std::min(extent.length, end - at);
    if (extent.kind == ExtentKind::kData) held += run;
    at += run;
  }
  return std::min(copied, length - held);
}

ChunkResult CopyProbe::Estimate(uint64_t offset, uint64_t length) {
  const ChunkResult counted = copier_.Estimate(offset, length);
  if (!counted || *counted == 0) return counted;
  const Result<uint64_t> gained = Gained(offset, length, *counted);
  if (!gained) return std::unexpected(ChunkFailure{gained.error(), true});
  {
    const MutexLock lock(mu_);
    bytes_ += *counted;
    gained_ += *gained;
  }
  Sample(offset, length);
  return counted;
}

bool CopyProbe::BeginSample() {
  const MutexLock lock(mu_);
  if (scratch_.file() == nullptr || failed_) return false;
  const Clock::time_point now = Clock::now();
  const Clock::duration busy = busy_ + (under_way_ > 0 ? now - since_ : Clock::duration::zero());
  if (sampled_ >= kMostSampled || busy >= kLongestSampling) return false;
  if (under_way_++ == 0) since_ = now;
  return true;
}

void CopyProbe::EndSample(const ChunkResult& copied) {
  const MutexLock lock(mu_);
  if (--under_way_ == 0) busy_ += Clock::now() - since_;
  sampled_ += copied.value_or(0);
  failed_ = failed_ || !copied;
}

void CopyProbe::Sample(uint64_t offset, uint64_t length) {
  const uint64_t step = std::max(kSampleStep, scratch_.cluster_size());
  const uint64_t end = offset + length;
  uint64_t left = kSampledAtOnce;
  for (uint64_t at = offset; at < end && left > 0; at += step) {
    if (!BeginSample()) return;
    const ChunkResult copied = copier_.Process(at, std::min(step, end - at));
    EndSample(copied);
    left -= std::min(left, copied.value_or(0));
  }
}

void CopyProbe::Finish() {
  if (scratch_.file() == nullptr) return;
  const Clock::time_point began = Clock::now();
  const Status synced = scratch_.file()->DataSync();
  const MutexLock lock(mu_);
  busy_ += Clock::now() - began;
  failed_ = failed_ || !synced;
  finished_ = true;
}

JobFacts CopyProbe::Facts() const {
  const MutexLock lock(mu_);
  const uint64_t cluster = scratch_.cluster_size();
  const uint64_t tables = 2 * RoundUp(DivRoundUp(gained_, cluster) * sizeof(uint64_t), cluster);
  JobFacts facts = {{"space-needed", gained_ == 0 ? gained_ : gained_ + tables}};
  if (!finished_ || failed_) return facts;
  const double milliseconds = std::chrono::duration<double, std::milli>(busy_).count();
  if (bytes_ == 0) {
    facts.emplace_back("estimated-milliseconds", uint64_t{0});
  } else if (sampled_ > 0) {
    const double times = static_cast<double>(bytes_) / static_cast<double>(sampled_);
    facts.emplace_back("estimated-milliseconds",
                       static_cast<uint64_t>(std::llround(milliseconds * times)));
  }
  return facts;
}

}  // namespace chainfs::jobs
