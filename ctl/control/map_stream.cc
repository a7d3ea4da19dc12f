// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/map_stream.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

namespace chainfs::control {
namespace {

class MapProducer {
 public:
  explicit MapProducer(DiskPtr disk) : disk_(std::move(disk)), size_(disk_->size()) {}

  // About one extent a call.
  Result<bool> Next(std::string* text) {
    constexpr std::chrono::milliseconds kLongest(100);
    const auto deadline = std::chrono::steady_clock::now() + kLongest;
    if (position_ == 0 && !held_) *text += '[';
    while (position_ < size_) {
      if (held_ && std::chrono::steady_clock::now() > deadline) {
        Put(text);
        held_.reset();
        return true;
      }
      CHAINFS_ASSIGN(const StackExtent extent,
                     disk_->Map(GuestOffset(position_), size_ - position_, MapDetail::kPrecise));
      if (extent.length == 0) break;  // the disk has got shorter
      const uint64_t start = position_;
      position_ += extent.length;
      if (held_ && Continues(*held_, extent)) {
        held_->length += extent.length;
        continue;
      }
      if (held_) Put(text);
      held_start_ = start;
      held_ = extent;
      return true;
    }
    if (held_) Put(text);
    held_.reset();
    *text += "]\n";
    return false;
  }

 private:
  static bool Continues(const StackExtent& before, const StackExtent& after) {
    if (before.kind != after.kind) return false;
    if (before.kind == ExtentKind::kUnallocated) return true;
    if (before.layer != after.layer || before.kind == ExtentKind::kCompressed) return false;
    return before.kind == ExtentKind::kZero ||
           (before.source == after.source && before.host + before.length == after.host);
  }

  void Put(std::string* text) {
    const ChainPtr chain = disk_->chain();
    const bool present = held_->kind != ExtentKind::kUnallocated;
    const bool data = held_->kind == ExtentKind::kData || held_->kind == ExtentKind::kCompressed;
    const size_t depth = present ? held_->layer : chain->depth() - 1;
    *text += fmt::format(
        "{}{{\"start\":{},\"length\":{},\"depth\":{},\"present\":{},\"zero\":{},\"data\":{},"
        "\"compressed\":{}",
        put_any_ ? ",\n" : "", held_start_, held_->length, depth, present, !data, data,
        held_->kind == ExtentKind::kCompressed);
    if (held_->kind == ExtentKind::kData) *text += fmt::format(",\"offset\":{}", held_->host.value);
    if (present && depth < chain->depth()) {
      const LayerPtr& layer = depth == 0 ? chain->active : chain->below->layers()[depth - 1];
      *text += ",\"filename\":";
      const std::string& path =
          held_->source == 0 ? layer->path : layer->image->source(held_->source).path();
      *text += nlohmann::json(path).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    }
    *text += '}';
    put_any_ = true;
  }

  const DiskPtr disk_;
  const uint64_t size_;
  uint64_t position_ = 0;
  std::optional<StackExtent> held_;  // not put yet: the next may continue it
  uint64_t held_start_ = 0;
  bool put_any_ = false;
};

}  // namespace

std::unique_ptr<TextStream> MapStream(const DiskPtr& disk) {
  auto producer = std::make_shared<MapProducer>(disk);
  return std::make_unique<TextStream>(
      [producer](std::string* text) { return producer->Next(text); });
}

}  // namespace chainfs::control
