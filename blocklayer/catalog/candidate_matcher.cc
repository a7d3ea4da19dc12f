// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/catalog/candidate_matcher.h"

#include <fmt/format.h>
#include <algorithm>
#include <utility>

#include "blocklayer/catalog/name_rules.h"

namespace chainfs {
namespace {

bool StillTheSame(const CatalogEntry& entry, const Candidate& candidate,
                  const Result<FileStat>& stat) {
  if (entry.disk == nullptr || candidate.error) return false;
  if (entry.candidate.format != candidate.format) return false;
  if (candidate.fixed_name && *candidate.fixed_name != entry.name) return false;
  // What is open shows a file as it was, if somebody else changes it.
  const auto changed = [](const LayerPtr& layer) { return layer->image->ChangedByOthers(); };
  if (std::ranges::any_of(entry.disk->chain()->AllLayers(), changed)) return false;
  // A file that cannot be looked at for the moment is still open here.
  return stat ? stat->id == entry.id() : stat.error().kind != ErrorKind::kNotFound;
}

}  // namespace

CatalogEntry CandidateMatcher::NewEntry(const Candidate& candidate, const Result<FileStat>& stat,
                                        ChainOpener& opener, CatalogEntry* before) {
  CatalogEntry entry;
  if (stat) {
    entry.walked = opener.Walk(candidate.location, candidate.format, candidate.extra_roots);
    entry.stat = *stat;
  } else {
    entry.error = stat.error();
    if (entry.error->kind == ErrorKind::kNotFound && !candidate.missing_hint.empty()) {
      entry.error->message = EscapeText(candidate.missing_hint);
    }
  }
  if (before == nullptr) return entry;
  // A broken one that has not changed keeps its error and need not be opened again.
  if (stat && before->failed_to_open) {
    entry.failed_to_open = true;
    entry.opened_as = std::move(before->opened_as);
    entry.error = std::move(before->error);
  }
  entry.opening = before->opening;
  // What its header says cannot be told just now: it is as it was.
  const bool untold = entry.walked.untold || (!stat && stat.error().kind != ErrorKind::kNotFound);
  if (!untold) return entry;
  AddMissing(entry.also_below, before->walked.Below());
  AddMissing(entry.also_below, before->also_below);
  if (before->disk == nullptr) return entry;
  for (const LayerPtr& layer : before->disk->chain()->AllLayers()) {
    if (layer->id != before->id()) entry.also_below.push_back(layer->id);
  }
  return entry;
}

// The entry that the candidate is already, taken from `old`; or a new one, not opened yet.
CatalogEntry CandidateMatcher::MatchOne(Candidate candidate, ChainOpener& opener,
                                        CatalogEntries& old) {
  const auto before = old.find(candidate.path);
  std::optional<ImageFormat> wanted;
  if (before == old.end()) wanted = candidate.format;
  const Result<FileStat> stat = candidate.error ? std::unexpected(*candidate.error)
                                                : opener.StatOf(candidate.location, wanted);
  if (before != old.end() && StillTheSame(before->second, candidate, stat)) {
    CatalogEntry same = std::move(before->second);
    old.erase(before);
    same.candidate = std::move(candidate);
    bool untold = false;
    std::vector<FileId> below =
        opener.Replaced(same.disk->chain()->AllLayers(), same.candidate.extra_roots, untold);
    if (untold) AddMissing(below, same.also_below);
    same.also_below = std::move(below);
    return same;
  }
  CatalogEntry entry =
      NewEntry(candidate, stat, opener, before == old.end() ? nullptr : &before->second);
  // A record's names, too, count by the files that they lead to.
  for (const std::string& kept : candidate.keeps) {
    const Result<FileId> id = roots_.Follow(*sources_.directory(candidate.source), kept);
    if (id) entry.kept_below.push_back(*id);
  }
  entry.candidate = std::move(candidate);
  return entry;
}

void CandidateMatcher::ShutOut(CatalogEntry& entry) {
  const LeftOutMarks::Mark* const mark = marks_.ShutOut(entry);
  if (mark == nullptr) return;
  chains_.Retire(entry, mark->contents.kind == MarkKind::kChanged);
  entry.shut_out = true;
  entry.failed_to_open = false;
  entry.error =
      Error{.kind = ErrorKind::kBusy,
            .message = EscapeText(fmt::format("{}: {}", entry.candidate.path, mark->Reason()))};
  std::vector<LayerFile>& files = entry.walked.files;
  if (mark->contents.kind == MarkKind::kTarget && mark->into) {
    // It may be built on the layer that its disk goes on writing until it moves to the target.
    const auto is_written = [&](const LayerFile& file) { return file.stat.id == *mark->into; };
    files.erase(std::ranges::find_if(files, is_written), files.end());
    std::erase(entry.also_below, *mark->into);
  }
  if (mark->contents.kind != MarkKind::kChanged) return;
  // What it was made for is not there any more, so it keeps nothing from being written.
  entry.also_below.clear();
  entry.walked.leads_to.clear();
  if (entry.walked.files.size() > 1) entry.walked.files.resize(1);
}

CatalogEntries CandidateMatcher::Match(std::vector<Candidate> candidates, ChainOpener& opener,
                                       CatalogEntries& old) {
  CatalogEntries now;
  std::map<FileId, std::pair<std::string, bool>> tops;  // path, and whether the user named it
  for (Candidate& candidate : candidates) {
    CatalogEntry entry = MatchOne(std::move(candidate), opener, old);
    ShutOut(entry);
    const std::string path = entry.candidate.path;
    if (entry.stat) {
      const auto [first, is_new] =
          tops.try_emplace(entry.id(), path, entry.candidate.named_by_user);
      if (!is_new) {
        chains_.Retire(entry);
        // The user's own words about a file go before what the directory says of it.
        if (first->second.second) continue;
        // What was walked stays: from another directory its names may lead elsewhere.
        entry.failed_to_open = false;
        entry.error = Error{
            .kind = ErrorKind::kExists,
            .message = EscapeText(fmt::format("{}: the same file as {}, which is shown already",
                                              path, first->second.first))};
      }
    }
    now.emplace(path, std::move(entry));
  }
  return now;
}

}  // namespace chainfs
