// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/formats/qcow2/cluster_set.h"

#include <algorithm>

namespace chainfs::qcow2 {

std::optional<ClusterSet> ClusterSet::Make(std::vector<Run> runs, uint64_t& overlap) {
  std::erase_if(runs, [](const Run& run) { return run.count == 0; });
  std::ranges::sort(runs, {}, &Run::first);
  size_t kept = 0;
  for (size_t i = 1; i < runs.size(); ++i) {
    Run& last = runs[kept];
    if (runs[i].first < last.first + last.count) {
      overlap = runs[i].first;
      return std::nullopt;
    }
    if (runs[i].first == last.first + last.count) {
      last.count += runs[i].count;
    } else {
      runs[++kept] = runs[i];
    }
  }
  if (!runs.empty()) runs.resize(kept + 1);
  ClusterSet set;
  set.runs_ = std::move(runs);
  set.runs_.shrink_to_fit();
  return set;
}

std::vector<ClusterSet::Run>::const_iterator ClusterSet::EndingPast(uint64_t cluster) const {
  return std::ranges::lower_bound(runs_, cluster, {},
                                  [](const Run& run) { return run.first + run.count - 1; });
}

bool ClusterSet::Contains(uint64_t first, uint64_t count) const {
  const auto run = EndingPast(first);
  return count > 0 && run != runs_.end() && run->first < first + count;
}

void ClusterSet::Add(uint64_t first, uint64_t count) {
  if (count == 0) return;
  uint64_t end = first + count;
  // All runs that touch it become one.
  auto begin = runs_.begin() + (EndingPast(first == 0 ? 0 : first - 1) - runs_.cbegin());
  auto past = begin;
  for (; past != runs_.end() && past->first <= end; ++past) {
    first = std::min(first, past->first);
    end = std::max(end, past->first + past->count);
  }
  if (begin == past) {
    runs_.insert(begin, {first, end - first});
    return;
  }
  *begin = {first, end - first};
  runs_.erase(begin + 1, past);
}

void ClusterSet::Remove(uint64_t first, uint64_t count) {
  if (count == 0) return;
  const uint64_t end = first + count;
  auto run = runs_.begin() + (EndingPast(first) - runs_.cbegin());
  while (run != runs_.end() && run->first < end) {
    const Run old = *run;
    const uint64_t old_end = old.first + old.count;
    if (old.first < first) {
      run->count = first - old.first;
      ++run;
      if (old_end > end) run = runs_.insert(run, {end, old_end - end});
    } else if (old_end > end) {
      *run = {end, old_end - end};
    } else {
      run = runs_.erase(run);
      continue;
    }
    if (old_end >= end) return;
  }
}

}  // namespace chainfs::qcow2
