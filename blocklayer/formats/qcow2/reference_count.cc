// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/reference_count.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace chainfs::qcow2 {
namespace {

// A file of which less than this share of windows is used at all is not an honest one.
constexpr uint64_t kMostWindows = 1024;

class Counter final : public ReferenceVisitor {
 public:
  Counter(File& file, const Qcow2Header& header, const RefcountsOnDisk& refcounts,
          ReferenceWindow& window, const WalkControl& control, const CountHooks& hooks)
      : file_(file),
        header_(header),
        geometry_(header.geometry()),
        refcounts_(refcounts),
        window_(window),
        control_(control),
        hooks_(hooks) {}

  Result<WalkTotals> Run();

  void Refer(ClusterUse use, std::string_view what, HostOffset host, uint64_t bytes) override;
  // As QEMU, which passes over a table whose own refcount it cannot read.
  bool WantsFlagsOf(HostOffset table) const override {
    return hooks_.flagged && CanCount(geometry_.ClusterOf(table));
  }
  Status Flagged(const FlaggedEntry& entry) override;
  void BadEntry(std::string text, bool unseen_by_qemu) override {
    Tell({.kind = ReferenceProblem::Kind::kBadEntry,
          .text = std::move(text),
          .unseen_by_qemu = unseen_by_qemu});
  }

 private:
  // Only the first window is asked for problems: they are the same in all.
  void Tell(ReferenceProblem problem) {
    if (first_window() && hooks_.problem) hooks_.problem(std::move(problem));
  }
  bool CanCount(uint64_t cluster) const {
    return !refcounts_.Unreadable(cluster / geometry_.refblock_entries());
  }
  bool first_window() const { return window_.first() == 0; }
  Result<WalkTotals> CountWindow();
  Status NoteSingles();
  // The refcount table and its blocks, which are counted last, as QEMU does.
  void CountStructure();
  void CountBlock(uint64_t block);
  uint64_t NextFirst() const;

  File& file_;
  const Qcow2Header& header_;
  const Geometry geometry_;
  const RefcountsOnDisk& refcounts_;
  ReferenceWindow& window_;
  const WalkControl& control_;
  const CountHooks& hooks_;
  uint64_t file_size_ = 0;
  uint64_t clusters_ = 0;                             // that are counted at all
  std::atomic<uint64_t> next_referred_ = UINT64_MAX;  // the first cluster past the window
};

void Counter::Refer(ClusterUse use, std::string_view what, HostOffset host, uint64_t bytes) {
  const uint64_t end = host.value + bytes;
  // The last cluster of a file may be incomplete.
  if (end > file_size_ && end - file_size_ >= geometry_.cluster_size()) {
    Tell({.kind = ReferenceProblem::Kind::kPastEnd,
          .text = fmt::format("{} at {:#x} lies past the end of the file", what, host.value),
          .unseen_by_qemu = false});
    return;
  }
  const uint64_t last = (end - 1) >> geometry_.cluster_bits;
  uint64_t cluster = std::max(geometry_.ClusterOf(host), window_.first());
  for (; cluster <= last && cluster < window_.end(); ++cluster) window_.Refer(cluster, use);
  if (cluster > last) return;
  uint64_t next = next_referred_.load(std::memory_order_relaxed);
  while (cluster < next &&
         !next_referred_.compare_exchange_weak(next, cluster, std::memory_order_relaxed)) {
  }
}

Status Counter::Flagged(const FlaggedEntry& entry) {
  if (entry.external) return first_window() ? hooks_.flagged(entry, true) : Status();
  const uint64_t cluster = geometry_.ClusterOf(entry.host);
  if (!CanCount(cluster)) return {};
  if (window_.Has(cluster)) return hooks_.flagged(entry, window_.Single(cluster));
  // No window will have it.
  if (cluster < clusters_ || !first_window()) return {};
  CHAINFS_ASSIGN(const uint64_t count, refcounts_.CountOf(cluster));
  return hooks_.flagged(entry, count == 1);
}

Status Counter::NoteSingles() {
  if (!hooks_.flagged) return {};
  return refcounts_.ForEachBlock(
      window_.first(), window_.end(),
      [&](uint64_t first, uint64_t end, const std::byte* block) -> Status {
        if (block == nullptr) return {};
        for (uint64_t cluster = first; cluster < end; ++cluster) {
          const uint64_t index = cluster % geometry_.refblock_entries();
          if (LoadRefcount(block, index, geometry_.refcount_order) == 1) {
            window_.NoteSingle(cluster);
          }
        }
        return {};
      });
}

void Counter::CountBlock(uint64_t block) {
  const auto broken = [&](std::string text) {
    Tell({.kind = ReferenceProblem::Kind::kBadBlock, .text = std::move(text)});
  };
  switch (refcounts_.StateOf(block)) {
    case RefcountsOnDisk::BlockState::kMissing:
      return;
    case RefcountsOnDisk::BlockState::kReservedBits:
      return broken(fmt::format("entry {} of the refcount table has reserved bits set", block));
    case RefcountsOnDisk::BlockState::kUnaligned:
      return broken(fmt::format("refcount block {} is not aligned", block));
    case RefcountsOnDisk::BlockState::kOutside:
      return broken(fmt::format("refcount block {} lies past the end of the file", block));
    case RefcountsOnDisk::BlockState::kSound:
      break;
  }
  Refer(ClusterUse::kAlone, "refcount block", refcounts_.PlaceOf(block), geometry_.cluster_size());
  const uint64_t cluster = geometry_.ClusterOf(refcounts_.PlaceOf(block));
  if (!window_.Has(cluster)) return;
  const uint64_t references = std::min(window_.References(cluster), geometry_.max_refcount());
  if (references == 1 || !hooks_.problem) return;
  hooks_.problem({.kind = ReferenceProblem::Kind::kBadBlock,
                  .text = fmt::format("refcount block {} at {:#x} is referred to {} times", block,
                                      refcounts_.PlaceOf(block).value, references),
                  .unseen_by_qemu = false});
}

void Counter::CountStructure() {
  Refer(ClusterUse::kAlone, "refcount table", header_.refcount_table_offset,
        header_.refcount_table_bytes());
  for (uint64_t block = refcounts_.NextBlock(0); block < refcounts_.blocks();
       block = refcounts_.NextBlock(block + 1)) {
    CountBlock(block);
  }
}

uint64_t Counter::NextFirst() const {
  const uint64_t end = window_.end();
  const uint64_t block = refcounts_.NextBlock(end / geometry_.refblock_entries());
  const uint64_t counted = block < refcounts_.blocks()
                               ? std::max(block * geometry_.refblock_entries(), end)
                               : UINT64_MAX;
  return std::min(counted, next_referred_.load(std::memory_order_relaxed));
}

Result<WalkTotals> Counter::CountWindow() {
  CHAINFS_TRY(NoteSingles());
  const WalkControl control{
      .runner = control_.runner, .stop = control_.stop, .percent = [this](uint32_t percent) {
        if (!control_.percent) return;
        const uint64_t clusters = window_.end() - window_.first();
        control_.percent(
            static_cast<uint32_t>((window_.first() * 100 + clusters * percent) / clusters_));
      }};
  CHAINFS_ASSIGN(const WalkTotals totals, WalkReferences(file_, header_, control, *this));
  if (hooks_.with_refcounts) CountStructure();
  if (window_.overflowed()) {
    return Fail(ErrorKind::kNoMemory,
                fmt::format("{}: too many clusters are shared more than 4095 times to be checked "
                            "here; use qemu-img check",
                            file_.path()));
  }
  if (hooks_.window) CHAINFS_TRY(hooks_.window(window_));
  return totals;
}

Result<WalkTotals> Counter::Run() {
  CHAINFS_ASSIGN(file_size_, file_.Size());
  CHAINFS_ASSIGN(clusters_, CountedClusters(file_, geometry_));
  WalkTotals totals;
  uint64_t windows = 0;
  for (uint64_t first = 0; first < clusters_; first = NextFirst()) {
    if (++windows > kMostWindows) {
      return Fail(ErrorKind::kNoMemory,
                  fmt::format("{}: its clusters lie too far apart to be checked", file_.path()));
    }
    next_referred_ = UINT64_MAX;
    window_.Reset(first, std::min(window_.capacity(), clusters_ - first));
    CHAINFS_ASSIGN(totals, CountWindow());
  }
  return totals;
}

}  // namespace

Result<uint64_t> CountedClusters(File& file, const Geometry& geometry) {
  CHAINFS_ASSIGN(const uint64_t size, file.Size());
  return DivRoundUp(size, geometry.cluster_size()) + 1;
}

Result<WalkTotals> CountReferences(File& file, const Qcow2Header& header,
                                   const RefcountsOnDisk& refcounts, ReferenceWindow& window,
                                   const WalkControl& control, const CountHooks& hooks) {
  return Counter(file, header, refcounts, window, control, hooks).Run();
}

}  // namespace chainfs::qcow2
