// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/chain_names.h"

#include <algorithm>
#include <map>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

enum class NamesFor : uint8_t { kThisMount, kNextMount };

std::vector<std::pair<CatalogEntry*, std::string>> NamesOfEntries(CatalogEntries& entries,
                                                                  NamesFor when) {
  std::vector<CatalogEntry*> order;
  for (int rank = 0; rank < 4; ++rank) {
    for (auto& [path, entry] : entries) {
      const bool fixed = entry.candidate.fixed_name.has_value();
      const int its_rank = entry.disk != nullptr && when == NamesFor::kThisMount ? 0
                           : fixed && entry.candidate.named_by_user              ? 1
                           : fixed                                               ? 2
                                                                                 : 3;
      if (its_rank == rank) order.push_back(&entry);
    }
  }
  std::vector<NameRequest> requests;
  for (const CatalogEntry* entry : order) {
    NameRequest request{.file_name = entry->candidate.file_name,
                        .fixed = entry->candidate.fixed_name};
    if (entry->disk != nullptr && when == NamesFor::kThisMount) request.fixed = entry->name;
    requests.push_back(std::move(request));
  }
  const std::vector<std::string> names = AssignNames(requests);
  std::vector<std::pair<CatalogEntry*, std::string>> named;
  named.reserve(order.size());
  for (size_t i = 0; i < order.size(); ++i) named.emplace_back(order[i], names[i]);
  return named;
}

}  // namespace

void NameEntries(CatalogEntries& entries) {
  for (auto& [entry, name] : NamesOfEntries(entries, NamesFor::kThisMount)) {
    entry->name = std::move(name);
  }
}

void RememberNames(CatalogEntries& entries, Sources& sources, bool read_only) {
  std::map<size_t, ShownNames::Images> shown;
  for (const auto& [path, entry] : entries) {
    const Candidate& candidate = entry.candidate;
    if (!entry.stat || !candidate.record.empty() || !sources.is_directory(candidate.source)) {
      continue;
    }
    if (entry.name == StemOf(candidate.file_name)) {
      shown[candidate.source].emplace(candidate.file_name, entry.id().inode);
    }
  }
  for (const auto& [source, images] : shown) sources.KeepShown(source, images);
  if (read_only) return;
  for (const auto& [entry, name] : NamesOfEntries(entries, NamesFor::kNextMount)) {
    const Candidate& candidate = entry->candidate;
    // Only what a newcomer would take the name from: others have theirs by the rules.
    const bool at_risk = entry->disk != nullptr && !candidate.fixed_name && name != entry->name &&
                         entry->name == StemOf(candidate.file_name);
    if (!at_risk || std::exchange(entry->remembered, true)) continue;
    // A source that cannot be written does without.
    (void)sources.RememberName(candidate.source, entry->name, candidate.file_name);
  }
}

}  // namespace chainfs
