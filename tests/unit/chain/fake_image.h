// SPDX-License-Identifier: Apache-2.0
//
// FakeImage: an Image over a file in memory whose clusters a test puts in place one by one, so that
// the resolver can be tested without a format. Its map is not stored in the file.
//
// Like a real image it maps without a lock and gives a freed cluster to another use only when the
// epoch allows (`reuse`): a reader that forgets its guard sees another cluster's bytes.
//
// Also here: ChainBuilder, which makes random chains beside the plain buffer that they show.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "blocklayer/base/endian.h"
#include "blocklayer/cache/metadata_cache.h"
#include "blocklayer/chain/block_context.h"
#include "blocklayer/chain/layer.h"
#include "blocklayer/formats/raw/raw_image.h"
#include "tests/support/mem_host.h"
#include "tests/support/random.h"

namespace chainfs {

using Buffer = std::vector<std::byte>;

inline std::unique_ptr<File> NewMemFile(MemHost& host, const std::string& name) {
  return host.OpenRoot()->Create(name, 0644).value();
}

class FakeImage final : public WritableImage {
 public:
  static constexpr std::byte kScramble{0x5A};

  FakeImage(std::unique_ptr<File> file, uint64_t size, uint32_t cluster_size, bool reuse = false)
      : file_(std::move(file)),
        cluster_size_(cluster_size),
        reuse_(reuse),
        entries_(DivRoundUp(size, cluster_size) * 2),
        virtual_size_(size) {}

  // Before use; `bytes` is one cluster.
  void PutData(uint64_t cluster, std::span<const std::byte> bytes) {
    MutexLock lock(mu_);
    ASSERT_TRUE(file_->WriteAt(HostOffset(end_), bytes));
    Store(cluster, ExtentKind::kData, end_);
    end_ += cluster_size_;
  }
  void PutZero(uint64_t cluster) { Store(cluster, ExtentKind::kZero, 0); }
  // Stored at an odd place: the length without the zeros at the end, then so many scrambled bytes.
  // The last one's upper bound lies past the end of the file.
  void PutCompressed(uint64_t cluster, std::span<const std::byte> bytes) {
    while (!bytes.empty() && bytes.back() == std::byte{0}) bytes = bytes.first(bytes.size() - 1);
    Buffer stored(4 + bytes.size());
    StoreBigEndian(stored.data(), static_cast<uint32_t>(bytes.size()));
    std::ranges::transform(bytes, stored.begin() + 4, [](std::byte b) { return b ^ kScramble; });
    MutexLock lock(mu_);
    ASSERT_TRUE(file_->WriteAt(HostOffset(end_ + 13), stored));
    Store(cluster, ExtentKind::kCompressed, end_ + 13);
    end_ += cluster_size_ + 512;
  }
  // Map fails there, as at a bad table entry.
  void PutBad(uint64_t cluster) { Store(cluster, ExtentKind::kCompressed, kBadHost); }
  void SkipHost(uint64_t bytes) {
    MutexLock lock(mu_);
    end_ += bytes;
  }

  std::atomic<uint64_t> map_calls = 0;
  std::atomic<uint64_t> decodes = 0;
  std::atomic<uint64_t> flushes = 0;
  std::atomic<bool> fail_flush = false;
  std::atomic<bool> read_only = false;
  // Set before use.
  std::function<void()> on_map;
  std::function<void()> on_map_refused;  // which passed the end
  std::function<void()> on_write;

  ImageFormat format() const override { return ImageFormat::kQcow2; }
  File& file() override { return *file_; }
  uint64_t virtual_size() const override { return virtual_size_.load(); }
  uint32_t cluster_size() const override { return cluster_size_; }
  bool writable() const override { return !read_only; }
  std::string read_only_reason() const override { return read_only ? "the test says so" : ""; }
  Status MakeWritable() override {
    return read_only ? Fail(ErrorKind::kReadOnly, "the test says so") : Status();
  }
  std::optional<BackingReference> backing() const override { return std::nullopt; }
  Result<uint64_t> AllocatedBytes() override { return file_->Stat().value().allocated_bytes; }

  Result<Extent> Map(GuestOffset offset, uint64_t length, MapDetail /*detail*/) override {
    map_calls.fetch_add(1, std::memory_order_relaxed);
    if (on_map) on_map();
    if (length == 0 || offset.value > virtual_size() || length > virtual_size() - offset.value) {
      if (on_map_refused) on_map_refused();
      return Fail(ErrorKind::kInvalidArgument, "mapped past the end");
    }
    Extent extent;
    for (GuestOffset at = offset; at.value < offset.value + length;) {
      const uint64_t within = at.Within(cluster_size_);
      const uint64_t piece =
          std::min(offset.value + length - at.value, uint64_t{cluster_size_} - within);
      const uint64_t word = entries_[at.value / cluster_size_].load(std::memory_order_acquire);
      const auto kind = static_cast<ExtentKind>(word & 3);
      if (kind == ExtentKind::kCompressed && word >> 2 == kBadHost) {
        if (extent.length == 0) return Fail(ErrorKind::kCorrupt, "bad entry");
        break;
      }
      const HostOffset host((word >> 2) + (kind == ExtentKind::kData ? within : 0));
      if (extent.length == 0) {
        extent = {.kind = kind, .length = 0, .host = host};
        if (kind == ExtentKind::kCompressed) extent.compressed_bytes = cluster_size_ + 4;
      } else if (kind != extent.kind || kind == ExtentKind::kCompressed ||
                 (kind == ExtentKind::kData && host != extent.host + extent.length)) {
        break;
      }
      extent.length += piece;
      at += piece;
    }
    return extent;
  }

  Status ReadCompressed(const Extent& extent, std::span<std::byte> out) override {
    decodes.fetch_add(1);
    if (out.size() != cluster_size_) return Fail(ErrorKind::kInvalidArgument, "not one cluster");
    Buffer stored(extent.compressed_bytes);
    CHAINFS_TRY(file_->ReadZeroFilled(extent.host, stored));
    const uint32_t length = LoadBigEndian<uint32_t>(stored.data());
    if (length > out.size()) return Fail(ErrorKind::kCorrupt, "not compressed bytes");
    std::ranges::fill(out, std::byte{0});
    std::ranges::transform(std::span(stored).subspan(4, length), out.begin(),
                           [](std::byte b) { return b ^ kScramble; });
    return {};
  }

  Status Write(GuestOffset offset, std::span<const std::byte> data,
               const BackingReader* below) override {
    if (on_write) on_write();
    MutexLock lock(mu_);
    while (!data.empty()) {
      const uint64_t piece =
          std::min<uint64_t>(data.size(), cluster_size_ - offset.Within(cluster_size_));
      CHAINFS_TRY(WriteInCluster(offset, data.first(piece), below));
      offset += piece;
      data = data.subspan(piece);
    }
    return {};
  }
  Status WriteZeroes(GuestOffset offset, uint64_t length, bool /*keep_allocated*/,
                     const BackingReader* below) override {
    const bool whole_clusters =
        offset.Within(cluster_size_) == 0 && (offset.value + length) % cluster_size_ == 0;
    return whole_clusters ? Discard(offset, length) : Write(offset, Buffer(length), below);
  }
  Status Discard(GuestOffset offset, uint64_t length) override {
    MutexLock lock(mu_);
    for (uint64_t cluster = DivRoundUp(offset.value, cluster_size_);
         (cluster + 1) * cluster_size_ <= offset.value + length; ++cluster) {
      const uint64_t word = entries_[cluster].load();
      PutZero(cluster);
      if (static_cast<ExtentKind>(word & 3) == ExtentKind::kData) {
        freed_.push_back({word >> 2, io_epoch_.epoch()});
      }
    }
    return {};
  }

  Status Populate(GuestOffset offset, std::span<const std::byte> data) override {
    MutexLock lock(mu_);
    for (; !data.empty(); offset += cluster_size_) {
      const uint64_t piece = std::min<uint64_t>(data.size(), cluster_size_);
      const uint64_t word = entries_[offset.value / cluster_size_].load();
      if (static_cast<ExtentKind>(word & 3) == ExtentKind::kUnallocated) {
        CHAINFS_TRY(WriteInCluster(offset, data.first(piece), nullptr));
      }
      data = data.subspan(piece);
    }
    return {};
  }
  Status PopulateZeroes(GuestOffset /*offset*/, uint64_t /*length*/) override { return {}; }
  Status PopulateFromFile(GuestOffset, uint64_t, File&, HostOffset) override {
    return Fail(ErrorKind::kUnsupported, "not in this image");
  }

  Status Flush() override {
    flushes.fetch_add(1);
    if (fail_flush) return Fail(ErrorKind::kIo, "flush fails as told");
    return file_->DataSync();
  }
  Status Grow(uint64_t new_size, const BackingReader* /*below*/, uint64_t backing_size) override {
    MutexLock lock(mu_);
    const uint64_t exposed = std::min(new_size, backing_size);
    for (uint64_t at = virtual_size(); at < exposed; at += cluster_size_) {
      if (at % cluster_size_ != 0) return Fail(ErrorKind::kUnsupported, "only whole clusters");
      PutZero(at / cluster_size_);
    }
    if (DivRoundUp(new_size, cluster_size_) > entries_.size()) {
      return Fail(ErrorKind::kNoSpace, "this image doubles at most");
    }
    virtual_size_.store(new_size);
    return {};
  }
  Status Shrink(uint64_t new_size) override {
    MutexLock lock(mu_);
    virtual_size_.store(new_size);
    for (uint64_t i = DivRoundUp(new_size, cluster_size_); i < entries_.size(); ++i) {
      Store(i, ExtentKind::kUnallocated, 0);
    }
    return {};
  }
  Status CanSetBacking(const std::optional<BackingReference>&) override { return {}; }
  Status SetBacking(const std::optional<BackingReference>&) override { return {}; }
  Status Close() override { return {}; }

 private:
  static constexpr uint64_t kBadHost = UINT64_MAX >> 2;
  struct Freed {
    uint64_t host;
    uint64_t epoch;
  };

  void Store(uint64_t cluster, ExtentKind kind, uint64_t host) {
    entries_[cluster].store(static_cast<uint64_t>(kind) | host << 2, std::memory_order_release);
  }

  uint64_t AllocateHost() REQUIRES(mu_) {
    io_epoch_.TryAdvance();
    if (reuse_ && !freed_.empty() && freed_.front().epoch + 2 <= io_epoch_.epoch()) {
      const uint64_t host = freed_.front().host;
      freed_.pop_front();
      return host;
    }
    const uint64_t host = end_;
    end_ += cluster_size_;
    return host;
  }

  Status WriteInCluster(GuestOffset offset, std::span<const std::byte> data,
                        const BackingReader* below) REQUIRES(mu_) {
    const uint64_t cluster = offset.value / cluster_size_;
    const uint64_t word = entries_[cluster].load();
    const uint64_t within = offset.Within(cluster_size_);
    const auto kind = static_cast<ExtentKind>(word & 3);
    if (kind == ExtentKind::kData) return file_->WriteAt(HostOffset((word >> 2) + within), data);
    Buffer whole(cluster_size_);
    const GuestOffset begin = offset.AlignDown(cluster_size_);
    if (kind == ExtentKind::kUnallocated && below != nullptr) {
      CHAINFS_TRY(below->ReadBelow(begin, whole));
    } else if (kind == ExtentKind::kCompressed) {
      const Extent extent{.kind = kind,
                          .length = cluster_size_,
                          .host = HostOffset(word >> 2),
                          .compressed_bytes = cluster_size_ + 4};
      CHAINFS_TRY(ReadCompressed(extent, whole));
      freed_.push_back({word >> 2, io_epoch_.epoch() + 1});  // as late as the new place is known
    }
    std::ranges::copy(data, whole.begin() + static_cast<int64_t>(within));
    const uint64_t host = AllocateHost();
    CHAINFS_TRY(file_->WriteAt(HostOffset(host), whole));
    Store(cluster, ExtentKind::kData, host);
    return {};
  }

  const std::unique_ptr<File> file_;
  const uint32_t cluster_size_;
  const bool reuse_;
  std::vector<std::atomic<uint64_t>> entries_;  // kind, and the host offset above it
  std::atomic<uint64_t> virtual_size_;
  Mutex mu_;
  uint64_t end_ GUARDED_BY(mu_) = 512;
  std::deque<Freed> freed_ GUARDED_BY(mu_);
};

inline LayerPtr MakeLayer(BlockContext& context, const std::string& name,
                          std::unique_ptr<Image> image) {
  auto layer = std::make_shared<Layer>();
  layer->path = "/mem/" + name;
  layer->name = name;
  layer->owner_id = context.metadata().NewOwner();
  layer->image = std::move(image);
  return layer;
}

inline FakeImage& AsFake(const LayerPtr& layer) { return static_cast<FakeImage&>(*layer->image); }

// A chain under construction, from the base up, and what it shows.
class ChainBuilder {
 public:
  ChainBuilder(BlockContext& context, MemHost& host) : context_(context), host_(host) {}

  // Top to base.
  const Layers& layers() const { return layers_; }
  const Buffer& shown() const { return shown_; }
  std::string NextName() const { return "layer" + std::to_string(layers_.size()); }

  // On top, all unallocated.
  FakeImage& Add(uint64_t size, uint32_t cluster_size, bool reuse = false) {
    const std::string name = NextName();
    auto image = std::make_unique<FakeImage>(NewMemFile(host_, name), size, cluster_size, reuse);
    FakeImage& fake = *image;
    layers_.insert(layers_.begin(), MakeLayer(context_, name, std::move(image)));
    // Longer than the layer below: zeros; shorter: the rest never shows again.
    shown_.resize(size);
    return fake;
  }
  void FillData(uint64_t cluster, std::span<const std::byte> bytes) {
    AsFake(layers_.front()).PutData(cluster, bytes);
    Show(cluster, bytes);
  }
  void FillZero(uint64_t cluster) {
    AsFake(layers_.front()).PutZero(cluster);
    Show(cluster, Buffer(AsFake(layers_.front()).cluster_size()));
  }
  void FillCompressed(uint64_t cluster, std::span<const std::byte> bytes) {
    AsFake(layers_.front()).PutCompressed(cluster, bytes);
    Show(cluster, bytes);
  }

  // A raw base with holes; `size` need not be a multiple of a sector.
  void AddRawBase(Random& random, uint64_t size, bool read_only = true) {
    std::unique_ptr<File> file = NewMemFile(host_, NextName());
    ASSERT_TRUE(file->Truncate(size));
    shown_.assign(RoundUp(size, 512), std::byte{0});
    for (uint64_t at = 0; at < size;) {
      const uint64_t length = std::min(size - at, random.Between(1, 64) * 4096);
      if (random.OneIn(2)) {
        Buffer data(length);
        random.Fill(data);
        ASSERT_TRUE(file->WriteAt(HostOffset(at), data));
        std::ranges::copy(data, shown_.begin() + static_cast<int64_t>(at));
      }
      at += length;
    }
    const std::string name = NextName();
    layers_.insert(
        layers_.begin(),
        MakeLayer(context_, name, raw::OpenRawImage(std::move(file), read_only).value()));
  }

  void AddRandom(Random& random, uint64_t size, uint32_t cluster_size, bool reuse = false) {
    Add(size, cluster_size, reuse);
    const uint64_t clusters = DivRoundUp(size, cluster_size);
    const uint64_t density = random.Between(2, 8);
    for (uint64_t cluster = 0; cluster < clusters;) {
      const uint64_t run = std::min(clusters - cluster, random.Between(1, 8));
      const uint64_t what = random.Below(density);
      for (uint64_t i = 0; i < run; ++i, ++cluster) {
        Buffer bytes(cluster_size);
        random.Fill(bytes);
        if (what == 0) FillData(cluster, bytes);
        if (what == 1 && random.OneIn(2)) FillZero(cluster);
        if (what == 1 && random.OneIn(4)) {
          std::fill(bytes.begin() + static_cast<int64_t>(random.Below(cluster_size)), bytes.end(),
                    std::byte{0});
          FillCompressed(cluster, bytes);
        }
        if (random.OneIn(16)) AsFake(layers_.front()).SkipHost(cluster_size);
      }
    }
  }

 private:
  void Show(uint64_t cluster, std::span<const std::byte> bytes) {
    const uint64_t begin = cluster * bytes.size();
    const uint64_t length = std::min<uint64_t>(bytes.size(), shown_.size() - begin);
    std::ranges::copy(bytes.first(length), shown_.begin() + static_cast<int64_t>(begin));
  }

  BlockContext& context_;
  MemHost& host_;
  Layers layers_;
  Buffer shown_;
};

}  // namespace chainfs
