// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/check_pass.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "blocklayer/base/endian.h"
#include "blocklayer/base/sync.h"
#include "blocklayer/formats/qcow2/reference_count.h"

namespace chainfs::qcow2 {
namespace {

constexpr size_t kMostMessages = 100;
constexpr size_t kMostOverlapped = 4096;

class CheckPass {
 public:
  CheckPass(File& file, const Qcow2Header& header, const RefcountsOnDisk& refcounts,
            uint64_t file_clusters, const CheckFindings* fix)
      : file_(file),
        geometry_(header.geometry()),
        refcounts_(refcounts),
        file_clusters_(file_clusters),
        fix_(fix) {}

  Status Run(const Qcow2Header& header, ReferenceWindow& window, const WalkControl& control);
  CheckFindings Take() EXCLUDES(mu_) {
    MutexLock lock(mu_);
    return std::move(findings_);
  }

 private:
  void Corruption(std::string text, bool unseen_by_qemu = false) REQUIRES(mu_);
  void Message(std::string text) REQUIRES(mu_);
  void OnProblem(ReferenceProblem problem) EXCLUDES(mu_);
  Status OnFlag(const FlaggedEntry& entry, bool single) EXCLUDES(mu_);
  Status Fix(const FlaggedEntry& entry);
  Status Compare(const ReferenceWindow& window) EXCLUDES(mu_);
  void CompareBlock(const ReferenceWindow& window, uint64_t first, uint64_t end,
                    const std::byte* block) REQUIRES(mu_);
  void CheckCountable(const ReferenceWindow& window, uint64_t cluster) REQUIRES(mu_);
  void CompareCluster(const ReferenceWindow& window, uint64_t cluster, uint64_t count)
      REQUIRES(mu_);

  File& file_;
  const Geometry geometry_;
  const RefcountsOnDisk& refcounts_;
  const uint64_t file_clusters_;
  const CheckFindings* const fix_;
  Mutex mu_;
  CheckFindings findings_ GUARDED_BY(mu_);
};

void CheckPass::Message(std::string text) {
  std::vector<std::string>& messages = findings_.report.messages;
  if (messages.size() < kMostMessages) messages.push_back(std::move(text));
}

void CheckPass::Corruption(std::string text, bool unseen_by_qemu) {
  ++findings_.report.corruptions;
  if (unseen_by_qemu) ++findings_.report.unseen_by_qemu;
  Message(std::move(text));
}

void CheckPass::OnProblem(ReferenceProblem problem) {
  MutexLock lock(mu_);
  if (problem.kind == ReferenceProblem::Kind::kBadBlock) {
    findings_.bad_blocks = true;
  } else {
    ++findings_.report.bad_entries;
    if (problem.kind == ReferenceProblem::Kind::kPastEnd) findings_.past_end = true;
  }
  Corruption(std::move(problem.text), problem.unseen_by_qemu);
}

Status CheckPass::Fix(const FlaggedEntry& entry) {
  std::array<std::byte, 8> raw;
  StoreBigEndian(raw.data(), entry.word ^ kEntryCopied);
  return file_.WriteAt(entry.at, raw);
}

Status CheckPass::OnFlag(const FlaggedEntry& entry, bool single) {
  if (entry.copied() == single) return {};
  const bool may_fix = fix_ != nullptr && entry.sound &&
                       fix_->MayChange(entry.at.AlignDown(geometry_.cluster_size()));
  if (may_fix) return Fix(entry);
  MutexLock lock(mu_);
  findings_.wrong_flags = true;
  Corruption(fmt::format("{} entry at {:#x} ({:#x}): the COPIED flag is {}, but the refcount is {}",
                         entry.is_l1 ? "L1" : "L2", entry.at.value, entry.word,
                         entry.copied() ? "set" : "not set", single ? "1" : "not 1"));
  return {};
}

void CheckPass::CheckCountable(const ReferenceWindow& window, uint64_t cluster) {
  const uint64_t references = window.References(cluster);
  if (references <= geometry_.max_refcount()) return;
  const uint64_t beyond = references - geometry_.max_refcount();
  findings_.report.corruptions += beyond;
  Message(fmt::format("cluster {} is referred to {} times, {} more than a refcount can say",
                      cluster, references, beyond));
}

void CheckPass::CompareCluster(const ReferenceWindow& window, uint64_t cluster, uint64_t count) {
  const uint64_t references = std::min(window.References(cluster), geometry_.max_refcount());
  if (count > 0 || references > 0) {
    findings_.report.image_end = (cluster + 1) << geometry_.cluster_bits;
  }
  const bool overlaps = window.Overlaps(cluster);
  if (overlaps) {
    ++findings_.report.overlaps;
    if (findings_.overlapped.size() < kMostOverlapped) {
      findings_.overlapped.insert(geometry_.HostOf(cluster));
    } else {
      findings_.unsafe_lists = true;
    }
  }
  if (count > references) {
    ++findings_.report.leaks;
    Message(
        fmt::format("leaked cluster {}: refcount {}, references {}", cluster, count, references));
  } else if (count < references) {
    findings_.low_counts = true;
    Corruption(fmt::format("cluster {}: refcount {}, references {}", cluster, count, references));
  } else if (overlaps) {
    Corruption(fmt::format("cluster {} is used as two things at once", cluster), true);
  }
}

void CheckPass::CompareBlock(const ReferenceWindow& window, uint64_t first, uint64_t end,
                             const std::byte* block) {
  const uint64_t entries = geometry_.refblock_entries();
  const bool unreadable = refcounts_.Unreadable(first / entries);
  for (uint64_t cluster = first; cluster < end; ++cluster) {
    // Behind the file only what is referred to counts.
    if (cluster >= file_clusters_ && window.References(cluster) == 0) continue;
    CheckCountable(window, cluster);
    if (unreadable) {
      ++findings_.report.check_errors;
      Message(fmt::format("the refcount of cluster {} cannot be read", cluster));
      continue;
    }
    const uint64_t count =
        block == nullptr ? 0 : LoadRefcount(block, cluster % entries, geometry_.refcount_order);
    CompareCluster(window, cluster, count);
  }
}

Status CheckPass::Compare(const ReferenceWindow& window) {
  return refcounts_.ForEachBlock(
      window.first(), window.end(),
      [&](uint64_t first, uint64_t end, const std::byte* block) -> Status {
        MutexLock lock(mu_);
        CompareBlock(window, first, end, block);
        return {};
      });
}

Status CheckPass::Run(const Qcow2Header& header, ReferenceWindow& window,
                      const WalkControl& control) {
  const CountHooks hooks{
      .with_refcounts = true,
      .problem = [this](ReferenceProblem problem) { OnProblem(std::move(problem)); },
      .flagged = [this](const FlaggedEntry& entry, bool single) { return OnFlag(entry, single); },
      .window = [this](const ReferenceWindow& counted) { return Compare(counted); }};
  CHAINFS_ASSIGN(const WalkTotals totals,
                 CountReferences(file_, header, refcounts_, window, control, hooks));
  if (fix_ != nullptr) CHAINFS_TRY(file_.DataSync());
  MutexLock lock(mu_);
  findings_.report.total_clusters = DivRoundUp(header.virtual_size(), geometry_.cluster_size());
  findings_.report.allocated_clusters = totals.allocated;
  findings_.report.compressed_clusters = totals.compressed;
  return {};
}

}  // namespace

Result<CheckFindings> CheckOnce(File& file, const Qcow2Header& header, ReferenceWindow& window,
                                const WalkControl& control, const CheckFindings* fix) {
  CHAINFS_ASSIGN(const RefcountsOnDisk refcounts, RefcountsOnDisk::Load(file, header));
  CHAINFS_ASSIGN(const uint64_t size, file.Size());
  CheckPass pass(file, header, refcounts, DivRoundUp(size, header.cluster_size()), fix);
  CHAINFS_TRY(pass.Run(header, window, control));
  return pass.Take();
}

}  // namespace chainfs::qcow2
