// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_marks.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/catalog/left_out.h"
#include "blocklayer/catalog/name_rules.h"

namespace chainfs::jobs {

Result<bool> CommitMarks::BaseHasAMark() const {
  const std::string name = LeftOutName({.path = plan_.base->path,
                                        .inode = plan_.base->id.inode,
                                        .into = {},
                                        .kind = MarkKind::kChanging,
                                        .job = {}});
  CHAINFS_ASSIGN(const std::vector<RecordStore::Record> marks,
                 catalog_.records().ReadAll(kLeftOutPrefix));
  return std::ranges::find(marks, name, &RecordStore::Record::name) != marks.end();
}

Status CommitMarks::Set() {
  CHAINFS_ASSIGN(take_back_,
                 catalog_.moves().MarkChanging(*disk_, plan_.Spoilt(), *plan_.top, id_));
  // Nobody new is let in from here on; somebody may have come since the plan was made.
  Status alone = CheckNobodyElse(catalog_, disk_, plan_, id_);
  if (!alone) GiveUp();
  return alone;
}

// The catalog takes away what it knows of; after a record that could not be read it knows nothing
// until it looks again. A mark that stayed would keep the next daemon from showing the disk.
Status CommitMarks::Clear() {
  constexpr int kTries = 3;
  for (int i = 0; i < kTries; ++i) {
    if (i > 0) CHAINFS_TRY(catalog_.Rescan());
    CHAINFS_TRY(catalog_.moves().EndedWell(*disk_, *plan_.base, *plan_.top));
    if (!catalog_.moves().Changing(*plan_.base)) {
      const Result<bool> left = BaseHasAMark();
      if (!left || *left) continue;
    }
    take_back_ = nullptr;
    return {};
  }
  return Fail(ErrorKind::kIo, EscapeText(fmt::format(
                                  "{}: the mark in .chainfs that says that it is changing cannot "
                                  "be taken away",
                                  plan_.base->path)));
}

void CommitMarks::GiveUp() {
  const ChainMoves::TakeBack take_back = std::exchange(take_back_, nullptr);
  if (!take_back) return;
  if (written_.load(std::memory_order_relaxed)) return TellChanged();
  const Status cleared = take_back();
  // They stay read-only, which does no harm.
  if (!cleared) spdlog::warn("{}: {}", plan_.base->path, cleared.error().message);
}

}  // namespace chainfs::jobs
