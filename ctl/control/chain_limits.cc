// SPDX-License-Identifier: Apache-2.0
#include "ctl/control/chain_limits.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "blocklayer/base/percent_text.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs::control {
namespace {

constexpr std::string_view kLimitPrefix = "layers-";
constexpr uint64_t kLimitVersion = 1;

std::string LimitRecordName(std::string_view disk) {
  return fmt::format("{}{}", kLimitPrefix, disk);
}

std::string FormatLimit(std::string_view disk, uint32_t layers) {
  const nlohmann::ordered_json json = {
      {"version", kLimitVersion}, {"disk", PercentEscape(disk)}, {"layers", layers}};
  return json.dump(2) + "\n";
}

// Nothing when it makes no sense.
std::optional<std::pair<std::string, uint32_t>> ParseLimit(const RecordStore::Record& record) {
  const auto json = nlohmann::json::parse(record.contents, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto version = json.find("version");
  const auto disk = json.find("disk");
  const auto layers = json.find("layers");
  if (version == json.end() || *version != kLimitVersion || disk == json.end() ||
      !disk->is_string() || layers == json.end() || !layers->is_number_unsigned() ||
      layers->get<uint64_t>() > UINT32_MAX) {
    return std::nullopt;
  }
  std::string name = PercentUnescape(disk->get_ref<const std::string&>());
  if (record.name != LimitRecordName(name)) return std::nullopt;
  return std::pair(std::move(name), layers->get<uint32_t>());
}

}  // namespace

ChainLimits::ChainLimits(RecordStore& records, uint32_t otherwise)
    : records_(records), otherwise_(otherwise) {
  const Result<std::vector<RecordStore::Record>> found = records_.ReadAll(kLimitPrefix);
  if (!found) {
    spdlog::warn("the limits of chains cannot be read: {}", found.error().message);
    return;
  }
  const MutexLock lock(mu_);
  for (const RecordStore::Record& record : *found) {
    if (std::optional<std::pair<std::string, uint32_t>> limit = ParseLimit(record)) {
      own_.insert(*std::move(limit));
    } else {
      spdlog::warn("{}/.chainfs/{} makes no sense and does not count", EscapeText(record.source),
                   EscapeText(record.name));
    }
  }
}

uint32_t ChainLimits::Of(std::string_view disk) const {
  const MutexLock lock(mu_);
  const auto found = own_.find(disk);
  return found == own_.end() ? otherwise_ : found->second;
}

bool ChainLimits::any() const {
  const MutexLock lock(mu_);
  return otherwise_ != 0 ||
         std::ranges::any_of(own_, [](const auto& limit) { return limit.second != 0; });
}

Status ChainLimits::Set(const Disk& disk, std::optional<uint32_t> layers) {
  const MutexLock writing(write_mu_);
  const std::string name = LimitRecordName(disk.name());
  if (!layers) {
    CHAINFS_TRY(records_.Remove(disk, name));
  } else {
    CHAINFS_TRY(records_.Write(disk, name, FormatLimit(disk.name(), *layers)));
  }
  const MutexLock lock(mu_);
  if (layers) {
    own_[disk.name()] = *layers;
  } else {
    own_.erase(disk.name());
  }
  return {};
}

}  // namespace chainfs::control
