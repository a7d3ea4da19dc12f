// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_marks.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "blocklayer/catalog/left_out.h"

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
  CHAINFS_ASSIGN(were_marked_, BaseHasAMark());
  CHAINFS_TRY(catalog_.moves().MarkChanging(*disk_, plan_.Spoilt(), *plan_.top, id_));
  set_ = true;
  // Nobody new is let in from here on; somebody may have come since the plan was made.
  Status alone = CheckNobodyElse(catalog_, disk_, plan_, id_);
  if (!alone) GiveUp();
  return alone;
}

Status CommitMarks::Clear() {
  CHAINFS_TRY(catalog_.moves().UnmarkChanging({plan_.base}));
  set_ = false;
  return {};
}

void CommitMarks::GiveUp() {
  if (!std::exchange(set_, false)) return;
  if (written_.load(std::memory_order_relaxed)) return TellChanged();
  if (were_marked_) return;
  const Status cleared = catalog_.moves().UnmarkChanging(plan_.Spoilt());
  // They stay read-only, which does no harm.
  if (!cleared) spdlog::warn("{}: {}", plan_.base->path, cleared.error().message);
}

}  // namespace chainfs::jobs
