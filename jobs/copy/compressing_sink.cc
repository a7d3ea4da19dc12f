// SPDX-License-Identifier: Apache-2.0
#include "jobs/copy/compressing_sink.h"

#include <tbb/parallel_pipeline.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "jobs/copy/cluster_compressor.h"
#include "jobs/engine/task_handover.h"

namespace chainfs::jobs {
namespace {

// So much makes one group, so that small clusters are worth a task.
constexpr uint64_t kGroupBytes = 64 << 10;
// Groups between cutting and storing; each may occupy a core.
constexpr size_t kGroupsInFlight = 8;

}  // namespace

// One call of Write. The first and the last stage have what is theirs for themselves; a group is
// with one stage at a time.
class CompressingSink::Pipeline {
 public:
  Pipeline(CopySink& plain, WritableImage& image, GuestOffset offset,
           std::span<const std::byte> data)
      : plain_(plain),
        image_(image),
        compression_(image.compression().value()),
        cluster_size_(plain.cluster_size()) {
    const size_t group_bytes = std::max(kGroupBytes, cluster_size_);
    for (size_t at = 0; at < data.size(); at += group_bytes) {
      groups_.push_back({.offset = offset + at,
                         .data = data.subspan(at, std::min(group_bytes, data.size() - at)),
                         .compressed = {},
                         .status = {}});
    }
  }

  Status Run() {
    CHAINFS_TASK_HANDED_OVER(this);
    tbb::this_task_arena::isolate([this] {
      tbb::parallel_pipeline(
          kGroupsInFlight,
          tbb::make_filter<void, Group*>(tbb::filter_mode::serial_in_order, CutNext{this}) &
              tbb::make_filter<Group*, Group*>(tbb::filter_mode::parallel, CompressOne{this}) &
              tbb::make_filter<Group*, void>(tbb::filter_mode::serial_in_order, StoreOne{this}));
    });
    CHAINFS_TASK_TAKEN_OVER(this);
    CHAINFS_TRY(status_);
    return shrunk_.empty() ? Status() : image_.PopulateCompressed(shrunk_);
  }

 private:
  // Clusters that follow one another.
  struct Group {
    GuestOffset offset;
    std::span<const std::byte> data;
    std::vector<std::vector<std::byte>> compressed;  // of each; empty: no shorter
    Status status;
  };

  // The stages, as oneTBB carries them.
  struct CutNext {
    Pipeline* pipeline;
    CHAINFS_TASK_BODY Group* operator()(tbb::flow_control& flow) const {
      CHAINFS_TASK_TAKEN_OVER(pipeline);
      Group* const group = pipeline->Cut();
      if (group == nullptr) flow.stop();
      CHAINFS_TASK_HANDED_OVER(pipeline);
      return group;
    }
  };
  struct CompressOne {
    Pipeline* pipeline;
    CHAINFS_TASK_BODY Group* operator()(Group* group) const {
      CHAINFS_TASK_TAKEN_OVER(pipeline);
      group->status = pipeline->Compress(*group);
      CHAINFS_TASK_HANDED_OVER(pipeline);
      return group;
    }
  };
  struct StoreOne {
    Pipeline* pipeline;
    CHAINFS_TASK_BODY void operator()(Group* group) const {
      CHAINFS_TASK_TAKEN_OVER(pipeline);
      pipeline->Store(*group);
      CHAINFS_TASK_HANDED_OVER(pipeline);
    }
  };

  // Null: no more.
  Group* Cut() {
    if (next_ == groups_.size() || failed_.load(std::memory_order_relaxed)) return nullptr;
    return &groups_[next_++];
  }
  Status Compress(Group& group) const;
  void Store(const Group& group) {
    if (!status_) return;
    status_ = group.status ? StorePlain(group) : group.status;
    if (!status_) failed_.store(true, std::memory_order_relaxed);
  }
  Status StorePlain(const Group& group);
  Result<bool> Unallocated(GuestOffset cluster) const;

  CopySink& plain_;
  WritableImage& image_;
  const ImageCompression compression_;
  const size_t cluster_size_;
  std::vector<Group> groups_;
  std::atomic<bool> failed_ = false;
  size_t next_ = 0;                        // the first stage's
  std::vector<CompressedCluster> shrunk_;  // the last stage's
  Status status_;                          // the last stage's
};

Status CompressingSink::Pipeline::Compress(Group& group) const {
  group.compressed.resize(DivRoundUp(group.data.size(), cluster_size_));
  for (size_t i = 0; i < group.compressed.size(); ++i) {
    const size_t at = i * cluster_size_;
    std::span<const std::byte> cluster =
        group.data.subspan(at, std::min(cluster_size_, group.data.size() - at));
    std::vector<std::byte> padded;
    if (cluster.size() < cluster_size_) {  // the end of the disk
      padded.assign(cluster.begin(), cluster.end());
      padded.resize(cluster_size_);
      cluster = padded;
    }
    CHAINFS_TRY(CompressCluster(compression_, cluster, group.compressed[i]));
  }
  return {};
}

Result<bool> CompressingSink::Pipeline::Unallocated(GuestOffset cluster) const {
  CHAINFS_ASSIGN(const Extent extent, image_.Map(cluster, 1, MapDetail::kFast));
  return extent.kind == ExtentKind::kUnallocated;
}

Status CompressingSink::Pipeline::StorePlain(const Group& group) {
  size_t plain = 0;  // from here to `at` it is to be stored as it is
  size_t at = 0;
  const auto store = [&] {
    return plain == at ? Status()
                       : plain_.Write(group.offset + plain, group.data.subspan(plain, at - plain));
  };
  for (const std::vector<std::byte>& compressed : group.compressed) {
    const GuestOffset cluster = group.offset + at;
    const size_t stop = std::min(at + cluster_size_, group.data.size());
    if (!compressed.empty()) {
      CHAINFS_ASSIGN(const bool unallocated, Unallocated(cluster));
      if (unallocated) {
        CHAINFS_TRY(store());
        shrunk_.push_back({.offset = cluster, .bytes = compressed});
        plain = stop;
      }
    }
    at = stop;
  }
  return store();
}

CompressingSink::CompressingSink(std::unique_ptr<CopySink> plain, WritableImage& image)
    : plain_(std::move(plain)), image_(image) {}

Status CompressingSink::Write(GuestOffset offset, std::span<const std::byte> data) {
  return Pipeline(*plain_, image_, offset, data).Run();
}

Status CompressingSink::Share(GuestOffset /*offset*/, uint64_t /*length*/, File& file,
                              HostOffset /*place*/) {
  return Fail(ErrorKind::kUnsupported, file.path() + ": what is shared is not compressed");
}

}  // namespace chainfs::jobs
