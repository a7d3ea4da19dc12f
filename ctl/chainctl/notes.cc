// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/notes.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "blocklayer/base/paths.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/layers.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

// "base: read-only: mid.qcow2 and vm2.qcow2 are built on it", or their number.
std::string BuiltOnText(const std::vector<std::string>& overlays) {
  constexpr size_t kMostNamed = 3;
  if (overlays.size() > kMostNamed)
    return fmt::format("{} images are built on it", overlays.size());
  std::string names;
  for (size_t i = 0; i < overlays.size(); ++i) {
    if (i > 0) names += i + 1 == overlays.size() ? " and " : ", ";
    names += BaseName(overlays[i]);
  }
  return fmt::format("{} {} built on it", names, overlays.size() == 1 ? "is" : "are");
}

}  // namespace

std::vector<std::string> NotesOf(const json& value) {
  std::map<std::string, std::string> built_on;  // disk -> the better note
  const std::vector<LayerFacts> layers = LayersFromChains(value);
  for (const json& chain : ArrayOf(value, "chains")) {
    const auto layer = std::ranges::find(layers, TextOf(chain, "active"), &LayerFacts::path);
    if (layer == layers.end() || layer->built_on_by.empty()) continue;
    built_on[TextOf(chain, "name")] = BuiltOnText(layer->built_on_by);
  }
  std::vector<std::string> notes;
  for (const json& note : ArrayOf(value, "notes")) {
    if (!note.is_string()) continue;
    auto text = note.get<std::string>();
    const size_t name_end = text.find(": read-only: ");
    if (name_end != std::string::npos && text.ends_with(" is built on it")) {
      const auto better = built_on.find(text.substr(0, name_end));
      if (better != built_on.end()) text = better->first + ": read-only: " + better->second;
    }
    notes.push_back(SafeText(text));
  }
  return notes;
}

// From the attribute, or from the notes of the mount where an older daemon has no such key.
std::string ReadOnlyReasonOf(const DiskPath& disk, const json& info) {
  std::string reason = TextOf(info, "read-only-reason");
  if (!reason.empty() || !FlagOf(info, "read-only")) return reason;
  const Result<json> chains = ReadJsonFile(disk.mount, "chains.json");
  if (!chains) return "";
  const std::string begin = TextOf(info, "name") + ": read-only: ";
  for (const std::string& note : NotesOf(*chains)) {
    if (note.starts_with(begin)) return note.substr(begin.size());
  }
  return "";
}

}  // namespace chainfs::chainctl
