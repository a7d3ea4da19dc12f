// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/changed_since.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

namespace chainfs::control {
namespace {

struct ChangedRange {
  uint64_t start = 0;
  uint64_t length = 0;
  bool zero = false;
};

std::string JsonText(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

class ChangedProducer {
 public:
  ChangedProducer(DiskPtr disk, LayerPtr since)
      : disk_(std::move(disk)), since_(std::move(since)), size_(disk_->size()) {}

  // What a tenth of a second finds.
  Result<bool> Next(std::string* text) {
    constexpr std::chrono::milliseconds kLongest(100);
    const auto deadline = std::chrono::steady_clock::now() + kLongest;
    // Held no longer than this call, or nobody could write what is below.
    const ChainPtr chain = disk_->chain();
    CHAINFS_ASSIGN(const size_t above, LayersAbove(*chain));
    if (!begun_) PutHead(text);
    begun_ = true;
    while (position_ < size_) {
      if (std::chrono::steady_clock::now() > deadline) return true;
      CHAINFS_ASSIGN(const StackExtent extent,
                     chain->Map(GuestOffset(position_), size_ - position_, MapDetail::kPrecise));
      if (extent.length == 0) break;  // the disk has got shorter
      const bool changed = extent.kind != ExtentKind::kUnallocated && extent.layer < above;
      if (changed) {
        Add({.start = position_, .length = extent.length, .zero = extent.kind == ExtentKind::kZero},
            text);
      }
      position_ += extent.length;
    }
    if (held_) Put(text);
    held_.reset();
    *text += "]}\n";
    return false;
  }

 private:
  Result<size_t> LayersAbove(const Chain& chain) const {
    const Layers layers = chain.AllLayers();
    if (since_ == nullptr) return layers.size();
    const auto at = std::ranges::find(layers, since_);
    if (at != layers.end()) return static_cast<size_t>(at - layers.begin());
    return Fail(ErrorKind::kNotFound,
                fmt::format("{}: is not in the chain of {} any more", since_->path, disk_->name()));
  }

  void PutHead(std::string* text) const {
    *text += fmt::format("{{\"disk\":{},\"since\":{},\"virtual-size\":{},", JsonText(disk_->name()),
                         since_ == nullptr ? "null" : JsonText(since_->path), size_);
    if (since_ != nullptr) {
      *text += fmt::format("\"since-virtual-size\":{},", since_->image->virtual_size());
    }
    *text += "\"ranges\":[\n";
  }

  void Add(const ChangedRange& range, std::string* text) {
    if (held_ && held_->zero == range.zero && held_->start + held_->length == range.start) {
      held_->length += range.length;
      return;
    }
    if (held_) Put(text);
    held_ = range;
  }

  void Put(std::string* text) {
    *text += fmt::format("{}{{\"start\":{},\"length\":{},\"zero\":{}}}", put_any_ ? ",\n" : "",
                         held_->start, held_->length, held_->zero);
    put_any_ = true;
  }

  const DiskPtr disk_;
  const LayerPtr since_;
  const uint64_t size_;
  uint64_t position_ = 0;
  std::optional<ChangedRange> held_;  // not put yet: the next may continue it
  bool begun_ = false;
  bool put_any_ = false;
};

}  // namespace

Result<ChangedSince> ChangedSince::Of(const DiskPtr& disk, const std::string& layer) {
  const Layers layers = disk->chain()->AllLayers();
  if (layer.empty()) return ChangedSince(disk, layers.size() > 1 ? layers[1] : nullptr);
  const auto called = [&](const LayerPtr& one) { return one->name == layer; };
  const auto number = std::ranges::count_if(layers, called);
  if (number == 1 && !called(layers.front())) {
    return ChangedSince(disk, *std::ranges::find_if(layers, called));
  }
  if (number == 1) {
    return Fail(
        ErrorKind::kInvalidArgument,
        fmt::format("{}: {} is the active layer, which has not frozen", disk->name(), layer));
  }
  return Fail(ErrorKind::kNotFound,
              fmt::format("{}: {} of its layers are called {}", disk->name(), number, layer));
}

std::unique_ptr<TextStream> ChangedSince::Stream() const {
  auto producer = std::make_shared<ChangedProducer>(disk_, layer_);
  return std::make_unique<TextStream>(
      [producer](std::string* text) { return producer->Next(text); });
}

}  // namespace chainfs::control
