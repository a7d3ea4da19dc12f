// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_list.h"

#include <algorithm>
#include <ranges>
#include <utility>

namespace chainfs::jobs {

uint64_t JobList::Add(std::unique_ptr<JobEntry> entry) {
  entry->sequence = next_sequence_++;
  entries_.push_back(std::move(entry));
  return entries_.back()->sequence;
}

JobEntry* JobList::Of(uint64_t sequence) const {
  const auto found = std::ranges::find(entries_, sequence, &JobEntry::sequence);
  return found == entries_.end() ? nullptr : found->get();
}

std::unique_ptr<JobEntry> JobList::Remove(uint64_t sequence) {
  const auto found = std::ranges::find(entries_, sequence, &JobEntry::sequence);
  if (found == entries_.end()) return nullptr;
  std::unique_ptr<JobEntry> gone = std::move(*found);
  entries_.erase(found);
  return gone;
}

bool JobList::Has(std::string_view id) const {
  return std::ranges::any_of(
      entries_, [&](const auto& entry) { return entry->id == id && !entry->dismissed; });
}

std::vector<std::shared_ptr<ListedJob>> JobList::Shown(std::string_view disk) const {
  std::vector<std::shared_ptr<ListedJob>> shown;
  for (const auto& entry : std::views::reverse(entries_)) {
    if (!entry->job || entry->dismissed) continue;
    if (disk.empty() || entry->IsAbout(disk)) shown.push_back(entry->job);
  }
  return shown;
}

std::shared_ptr<ListedJob> JobList::Newest(std::string_view disk, std::string_view id) const {
  for (const std::shared_ptr<ListedJob>& job : Shown(disk)) {
    if (id.empty() || job->id() == id) return job;
  }
  return nullptr;
}

size_t JobList::queued() const {
  return static_cast<size_t>(std::ranges::count_if(entries_, [](const auto& entry) {
    return entry->queues && !entry->started && !entry->concluded;
  }));
}

std::vector<std::shared_ptr<ListedJob>> JobList::TakePlaces(size_t places) {
  size_t running = 0;
  for (const auto& entry : entries_) running += entry->started && !entry->concluded ? 1 : 0;
  std::vector<std::shared_ptr<ListedJob>> starting;
  for (const Priority priority : {Priority::kHigh, Priority::kNormal, Priority::kLow}) {
    for (const auto& entry : entries_) {
      if (running >= places) break;
      if (entry->priority != priority || !entry->job || !entry->queues) continue;
      if (entry->started || entry->concluded) continue;
      entry->started = true;
      ++running;
      starting.push_back(entry->job);
    }
  }
  return starting;
}

void JobList::Trim(std::string_view disk, bool estimates) {
  const auto counts = [&](const auto& entry) {
    return entry->concluded && entry->disk == disk && entry->job->estimates() == estimates;
  };
  const size_t kept = estimates ? kEstimates : kHistory;
  auto excess = std::ranges::count_if(entries_, counts) - static_cast<ptrdiff_t>(kept);
  std::erase_if(entries_, [&](const auto& entry) { return counts(entry) && excess-- > 0; });
}

}  // namespace chainfs::jobs
