// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/layers_report.h"

#include <fmt/format.h>
#include <algorithm>
#include <map>
#include <utility>

namespace chainfs {

std::vector<LayerReport> ReportLayers(ChainSet& chains, LayerRoles& roles,
                                      const LeftOutMarks& marks, LayerNeeds& needs) {
  std::map<FileId, LayerReport> reports;
  const auto add = [&](const FileId& id, const std::string& path, ImageFormat format,
                       uint64_t bytes) -> LayerReport& {
    LayerReport& report = reports[id];
    if (report.path.empty()) {
      report.path = path;
      report.format = format;
      report.actual_size = bytes;
    }
    return report;
  };
  const auto add_overlay = [](LayerReport& report, const std::string& overlay) {
    std::vector<std::string>& known = report.built_on_by;
    if (!overlay.empty() && std::ranges::find(known, overlay) == known.end()) {
      known.push_back(overlay);
    }
  };
  std::map<FileId, const CatalogEntry*> tops;
  for (const auto& [path, entry] : chains.entries()) {
    if (entry.stat) tops.emplace(entry.id(), &entry);
    std::string above;
    if (entry.disk != nullptr) {
      for (const LayerPtr& layer : entry.disk->chain()->AllLayers()) {
        LayerReport& report = add(layer->id, layer->path, layer->image->format(),
                                  layer->image->AllocatedBytes().value_or(0));
        add_overlay(report, std::exchange(above, layer->path));
      }
      continue;
    }
    for (const LayerFile& file : entry.walked.files) {
      LayerReport& report =
          add(file.stat.id, file.location.path, file.format, file.stat.allocated_bytes);
      add_overlay(report, std::exchange(above, file.location.path));
    }
  }
  const LayerUsers backed = roles.Backed();
  std::vector<LayerReport> all;
  for (auto& [id, report] : reports) {
    const auto user = backed.find(id);
    const auto top = tops.find(id);
    const LeftOutMarks::Mark* const mark = top == tops.end() ? nullptr : marks.Of(*top->second);
    if (user != backed.end()) {
      report.reason = BuiltOn(user->second);
    } else if (mark != nullptr && (mark->contents.kind == MarkKind::kChanging ||
                                   mark->contents.kind == MarkKind::kTarget)) {
      report.reason = mark->Reason();
    } else if (mark != nullptr) {
      report.reason = LayerNeeds::BecauseOfItself(*top->second);
      if (report.reason.empty()) report.reason = needs.BecauseOfRecords(id, report.path, {});
      if (report.reason.empty() && mark->lost) {
        report.reason = fmt::format("{}, which it was merged into, is gone", mark->contents.into);
      }
      report.needed = !report.reason.empty();
      if (!report.needed) report.reason = fmt::format("merged into {}", mark->contents.into);
    } else if (top != tops.end()) {
      const bool shown = top->second->disk != nullptr;
      report.reason = (shown ? "active layer of " : "not shown: ") + top->second->name;
    }
    all.push_back(std::move(report));
  }
  std::ranges::sort(all, {}, &LayerReport::path);
  return all;
}

}  // namespace chainfs
