// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/flat_index.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace chainfs {
namespace {

// Control block of the shared array, and what the allocator adds.
constexpr uint64_t kArrayOverhead = 48;

// Sectors of a region.
struct Gap {
  uint32_t begin;
  uint32_t end;
};

// One building of one region. `gaps_` is what no layer has claimed yet, in order.
class RegionBuilder {
 public:
  RegionBuilder(const StackSources& sources, uint64_t start, uint32_t sectors)
      : sources_(sources), start_(start), sectors_(sectors) {
    gaps_.push_back({0, sectors});
  }

  bool complete() const { return gaps_.empty(); }

  // Claims for `layer`, the next one down, what it does not leave unallocated.
  Status Ask(const Layer& layer, uint32_t index) {
    Image& image = *layer.image;
    const uint64_t size = image.virtual_size();
    const uint64_t shown = size > start_ ? size - start_ : 0;
    const uint32_t limit =
        static_cast<uint32_t>(std::min<uint64_t>(sectors_, shown / FlatRegion::kSectorSize));
    open_.clear();
    size_t gap = 0;
    for (uint32_t sector = gaps_.front().begin; gap < gaps_.size();) {
      sector = std::max(sector, gaps_[gap].begin);
      Extent extent{.kind = ExtentKind::kZero};  // past the layer's end
      uint32_t end = sectors_;
      if (sector < limit) {
        // One question spans several gaps: a layer that has nothing here answers once.
        const uint64_t wanted =
            (std::min(limit, gaps_.back().end) - sector) * FlatRegion::kSectorSize;
        const GuestOffset at(start_ + sector * FlatRegion::kSectorSize);
        CHAINFS_ASSIGN(extent, image.Map(at, wanted, MapDetail::kPrecise));
        if (extent.length == 0 || extent.length > wanted ||
            extent.length % FlatRegion::kSectorSize != 0 ||
            extent.source >= sources_.CountOf(index)) {
          return Fail(ErrorKind::kCorrupt, fmt::format("{}: bad extent of {} bytes at {}",
                                                       layer.path, extent.length, at.value));
        }
        end = sector + static_cast<uint32_t>(extent.length / FlatRegion::kSectorSize);
      }
      gap = Distribute(index, extent, sector, end, gap);
      sector = end;
    }
    gaps_.swap(open_);
    return {};
  }

  FlatRegion Finish() {
    for (const Gap& gap : gaps_) runs_.push_back({gap.begin, 0, ExtentKind::kUnallocated, {}, 0});
    std::ranges::sort(runs_, {}, &FlatRun::begin_sector);
    size_t kept = 0;
    for (size_t i = 1; i < runs_.size(); ++i) {
      if (!Continues(runs_[kept], runs_[i])) runs_[++kept] = runs_[i];
    }
    return {std::span(runs_).first(kept + 1), sectors_};
  }

 private:
  // Gives what `extent` ([begin, end) of the region) says to the gaps from `gap` on; returns the
  // first gap that reaches beyond it.
  size_t Distribute(uint32_t layer, const Extent& extent, uint32_t begin, uint32_t end,
                    size_t gap) {
    for (; gap < gaps_.size() && gaps_[gap].begin < end; ++gap) {
      const uint32_t from = std::max(gaps_[gap].begin, begin);
      const uint32_t to = std::min(gaps_[gap].end, end);
      if (extent.kind == ExtentKind::kUnallocated) {
        if (!open_.empty() && open_.back().end == from) {
          open_.back().end = to;
        } else {
          open_.push_back({from, to});
        }
      } else {
        const uint64_t skip =
            extent.kind == ExtentKind::kData ? (from - begin) * FlatRegion::kSectorSize : 0;
        const HostOffset host =
            extent.kind == ExtentKind::kZero ? HostOffset() : extent.host + skip;
        const uint32_t bytes = extent.kind == ExtentKind::kCompressed ? extent.compressed_bytes : 0;
        const uint32_t first = sources_.FirstOf(layer);
        const uint32_t source = extent.kind == ExtentKind::kZero ? first : first + extent.source;
        runs_.emplace_back(from, source, extent.kind, host, bytes);
      }
      if (gaps_[gap].end > end) break;
    }
    return gap;
  }

  static bool Continues(const FlatRun& run, const FlatRun& next) {
    if (run.kind() != next.kind() || run.source() != next.source()) return false;
    const uint64_t between = (next.begin_sector() - run.begin_sector()) * FlatRegion::kSectorSize;
    switch (run.kind()) {
      case ExtentKind::kData:
        return next.host() == run.host() + between;
      case ExtentKind::kCompressed:
        return false;
      default:
        return true;
    }
  }

  const StackSources& sources_;
  const uint64_t start_;  // guest bytes
  const uint32_t sectors_;
  std::vector<Gap> gaps_;
  std::vector<Gap> open_;
  std::vector<FlatRun> runs_;
};

}  // namespace

FlatRegion::FlatRegion(std::span<const FlatRun> runs, uint32_t sectors)
    : count_(static_cast<uint32_t>(runs.size())), sectors_(sectors) {
  const std::shared_ptr<FlatRun[]> copy = std::make_shared<FlatRun[]>(runs.size());
  std::ranges::copy(runs, copy.get());
  runs_ = copy;
}

uint32_t FlatRegion::Find(uint64_t byte) const {
  const std::span<const FlatRun> runs(runs_.get(), count_);
  const auto after = std::ranges::upper_bound(runs, static_cast<uint32_t>(byte / kSectorSize), {},
                                              &FlatRun::begin_sector);
  return static_cast<uint32_t>(after - runs.begin()) - 1;
}

Extent FlatRegion::ExtentAt(uint32_t index, uint64_t byte) const {
  const FlatRun& run = runs_[index];
  const uint64_t skip = run.kind() == ExtentKind::kData ? byte - BeginByte(index) : 0;
  return {.kind = run.kind(),
          .length = EndByte(index) - byte,
          .host = run.host() + skip,
          .compressed_bytes = run.compressed_bytes()};
}

uint64_t FlatRegion::MemoryBytes() const { return kArrayOverhead + count_ * sizeof(FlatRun); }

Result<FlatRegion> BuildFlatRegion(const Layers& layers, const StackSources& sources, uint64_t size,
                                   uint64_t number) {
  if (sources.size() > FlatRegion::kMaxSources) {
    return Fail(ErrorKind::kLoop,
                fmt::format("{}: a chain of {} files is deeper than {}", layers.front()->path,
                            sources.size(), FlatRegion::kMaxSources));
  }
  const uint64_t start = number * FlatRegion::kBytes;
  const uint64_t bytes = std::min(size - start, FlatRegion::kBytes);
  RegionBuilder builder(sources, start, static_cast<uint32_t>(bytes / FlatRegion::kSectorSize));
  for (uint32_t i = 0; i < layers.size() && !builder.complete(); ++i) {
    CHAINFS_TRY(builder.Ask(*layers[i], i));
  }
  return builder.Finish();
}

IndexCache::IndexCache(uint64_t limit_bytes) : cache_(limit_bytes, kShards) {}

void IndexCache::DropOwner(uint64_t owner, uint64_t size) {
  cache_.Drop(owner, DivRoundUp(size, FlatRegion::kBytes));
}

}  // namespace chainfs
