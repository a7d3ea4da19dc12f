// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/snapshot_names.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "blocklayer/base/percent_text.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

std::string WithoutSlashes(std::string text) {
  for (size_t at = text.find('/'); at != std::string::npos; at = text.find('/', at)) {
    text.replace(at, 1, "%2F");
  }
  return text;
}

// Empty where it cannot be a name.
std::string SnapshotDiskName(std::string_view chain, std::string_view label) {
  std::string name = fmt::format("{}@{}", chain, label);
  if (!CheckChainName(name)) {
    name = fmt::format("{}@{}", chain, WithoutSlashes(PercentEscape(label)));
  }
  return CheckChainName(name) ? name : std::string();
}

}  // namespace

std::vector<std::string> NameSnapshotDisks(std::string_view chain, const ImageSnapshots& snapshots,
                                           const std::function<bool(const std::string&)>& taken) {
  std::vector<std::string> names;
  std::map<std::string, size_t> wanted;  // how often
  names.reserve(snapshots.kept.size());
  for (const ImageSnapshot& snapshot : snapshots.kept) {
    std::string name = SnapshotDiskName(chain, snapshot.name.empty() ? snapshot.id : snapshot.name);
    if (name.empty()) name = SnapshotDiskName(chain, snapshot.id);
    names.push_back(std::move(name));
    ++wanted[names.back()];
  }
  std::set<std::string> used;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) continue;
    if (wanted[names[i]] == 1 && !taken(names[i])) {
      used.insert(names[i]);
      continue;
    }
    names[i] = SnapshotDiskName(
        chain, fmt::format("{}#{}", std::string_view(names[i]).substr(chain.size() + 1),
                           snapshots.kept[i].id));
    const bool free =
        wanted.find(names[i]) == wanted.end() && !taken(names[i]) && used.insert(names[i]).second;
    if (!free) names[i].clear();
  }
  return names;
}

}  // namespace chainfs
