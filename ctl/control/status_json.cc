// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/status_json.h"

#include <fmt/format.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "blocklayer/base/timestamp.h"
#include "ctl/control/errno_map.h"

namespace chainfs::control {
namespace {

using Json = nlohmann::ordered_json;

std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Joins JSON texts into an array, cut where it would pass `limit` bytes.
std::string JoinArray(const std::vector<std::string>& items, size_t limit) {
  std::string array = "[";
  for (const std::string& item : items) {
    if (array.size() > 1) array += ',';
    if (limit != kNoLimit && array.size() + item.size() > limit) {
      array += "{\"truncated\":true}]";
      return array;
    }
    array += item;
  }
  array += ']';
  return array;
}

// The size that the layer's file occupies; absent when the host cannot say.
void AddActualSize(Json* json, const Result<uint64_t>& bytes) {
  if (bytes) (*json)["actual-size"] = *bytes;
}

// As far as the list goes into an attribute beside the rest.
void AddBitmaps(Json* json, Image& image) {
  constexpr size_t kMostBytes = 32 << 10;
  const Result<std::vector<BitmapInfo>> bitmaps = image.Bitmaps();
  if (!bitmaps) {
    (*json)["bitmaps-error"] = bitmaps.error().message;
    return;
  }
  if (bitmaps->empty()) return;
  Json list = Json::array();
  size_t bytes = 0;
  for (const BitmapInfo& bitmap : *bitmaps) {
    Json one = {{"name", bitmap.name},
                {"granularity", bitmap.granularity},
                {"enabled", bitmap.enabled},
                {"in-use", bitmap.in_use},
                {"inconsistent", bitmap.inconsistent}};
    if (!bitmap.problem.empty()) one["problem"] = bitmap.problem;
    if (bitmap.dirty_bytes) one["dirty-bytes"] = *bitmap.dirty_bytes;
    bytes += Dump(one).size();
    if (bytes > kMostBytes) break;
    list.push_back(std::move(one));
  }
  if (list.size() < bitmaps->size()) (*json)["bitmaps-left-out"] = bitmaps->size() - list.size();
  (*json)["bitmaps"] = std::move(list);
}

Json LayerJson(const Layer& layer) {
  Json json = {{"filename", layer.path},
               {"format", std::string(layer.image->format().name())},
               {"virtual-size", layer.image->virtual_size()}};
  AddActualSize(&json, layer.image->AllocatedBytes());
  if (layer.image->has_subclusters()) json["extended-l2"] = true;
  if (layer.snapshot_of != nullptr) json["internal-snapshot"] = true;
  const uint64_t snapshots = layer.image->snapshots().count;
  if (snapshots > 0) json["internal-snapshots"] = snapshots;
  if (const std::optional<BackingReference> backing = layer.image->backing()) {
    json["backing-filename"] = backing->name;
    if (backing->format) json["backing-filename-format"] = *backing->format;
  }
  return json;
}

Json DiskJson(const Disk& disk, const Chain& chain) {
  Json json = {{"name", disk.name()},
               {"format", std::string(chain.active->image->format().name())},
               {"virtual-size", disk.size()}};
  AddActualSize(&json, disk.chain()->AllocatedBytes());
  json["cluster-size"] = chain.active->image->cluster_size();
  json["extended-l2"] = chain.active->image->has_subclusters();
  if (chain.active->snapshot_of != nullptr) json["internal-snapshot"] = true;
  json["read-only"] = disk.read_only();
  if (std::string why = disk.ReadOnlyReason(); !why.empty()) {
    json["read-only-reason"] = std::move(why);
  }
  json["depth"] = chain.depth();
  json["active"] = chain.active->path;
  json["generation"] = chain.generation;
  return json;
}

}  // namespace

std::string DiskInfoJson(const Disk& disk, uint32_t max_layers,
                         const std::optional<std::string>& trace) {
  Json json = DiskJson(disk, *disk.chain());
  AddBitmaps(&json, *disk.chain()->active->image);
  if (max_layers != 0) json["max-layers"] = max_layers;
  if (trace) json["trace"] = *trace;
  return Dump(json);
}

std::string ChainJson(const Disk& disk, size_t limit) {
  std::vector<std::string> items;
  size_t bytes = 0;
  for (const LayerPtr& layer : disk.chain()->AllLayers()) {
    items.push_back(Dump(LayerJson(*layer)));
    bytes += items.back().size();
    if (limit != kNoLimit && bytes > limit) break;
  }
  return JoinArray(items, limit);
}

std::string JobsJson(const std::vector<jobs::JobInfo>& jobs, size_t limit) {
  std::vector<std::string> items;
  items.reserve(jobs.size());
  for (const jobs::JobInfo& job : jobs) items.push_back(jobs::JobToJson(job));
  return JoinArray(items, limit);
}

std::string RefusalJson(std::chrono::system_clock::time_point time, std::string_view attribute,
                        int error_number, std::string_view message) {
  return Dump(Json{{"time", FormatUtc(time)},
                   {"attribute", std::string(attribute)},
                   {"errno", ErrnoName(error_number)},
                   {"message", std::string(message)}});
}

std::string ConfigJson(const MountConfig& config, const CatalogOptions& catalog) {
  Json json = {{"pid", ::getpid()},
               {"mountpoint", config.mountpoint},
               {"sources", config.sources},
               {"read-only", catalog.read_only},
               {"backing-dirs", catalog.backing_dirs},
               {"data-dirs", catalog.data_dirs},
               {"max-depth", catalog.max_depth},
               {"max-layers", config.max_layers},
               {"index-memory", catalog.memory.index_bytes},
               {"metadata-memory", catalog.memory.metadata_bytes},
               {"threads", config.threads},
               {"direct-io", config.direct_io},
               {"writeback-cache", config.writeback_cache},
               {"allow-other", config.allow_other}};
  if (catalog.assume_backing_format) {
    json["assume-backing-format"] = std::string(catalog.assume_backing_format->name());
  }
  return Dump(json);
}

std::string ChainsFileJson(const std::vector<DiskPtr>& disks,
                           const std::vector<BrokenImage>& broken,
                           const std::vector<ImageNote>& notes) {
  Json chains = Json::array();
  for (const DiskPtr& disk : disks) {
    const ChainPtr chain = disk->chain();
    Json entry = {{"name", disk->name()}, {"file", disk->name() + ".raw"}};
    entry.update(DiskJson(*disk, *chain));
    Json layers = Json::array();
    for (const LayerPtr& layer : chain->AllLayers()) layers.push_back(LayerJson(*layer));
    entry["layers"] = std::move(layers);
    chains.push_back(std::move(entry));
  }
  Json bad = Json::array();
  for (const BrokenImage& image : broken) {
    bad.push_back({{"name", image.name}, {"path", image.path}, {"error", image.error.message}});
  }
  Json said = Json::array();
  for (const ImageNote& note : notes) {
    said.push_back(fmt::format("{}{}{}", note.name, note.name.empty() ? "" : ": ", note.text));
  }
  return Dump(
      Json{{"chains", std::move(chains)}, {"broken", std::move(bad)}, {"notes", std::move(said)}});
}

std::string LayersFileJson(const std::vector<LayerReport>& layers) {
  Json all = Json::array();
  for (const LayerReport& layer : layers) {
    all.push_back({{"path", layer.path},
                   {"format", std::string(layer.format.name())},
                   {"actual-size", layer.actual_size},
                   {"built-on-by", layer.built_on_by},
                   {"needed", layer.needed},
                   {"reason", layer.reason}});
  }
  return Dump(Json{{"layers", std::move(all)}});
}

std::string JobsFileJson(const std::vector<jobs::JobInfo>& jobs) {
  return fmt::format("{{\"jobs\":{}}}", JobsJson(jobs, kNoLimit));
}

}  // namespace chainfs::control
