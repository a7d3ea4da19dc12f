// SPDX-License-Identifier: Apache-2.0
#include "jobs/commit/commit_marks.h"

#include <spdlog/spdlog.h>

#include <utility>

namespace chainfs::jobs {

Status CommitMarks::Set() {
  CHAINFS_ASSIGN(take_back_,
                 catalog_.moves().MarkChanging(*disk_, plan_.Spoilt(), *plan_.top, id_));
  // Nobody new is let in from here on; somebody may have come since the plan was made.
  Status alone = CheckNobodyElse(catalog_, disk_, plan_, id_);
  if (!alone) GiveUp();
  return alone;
}

Status CommitMarks::Clear() {
  // What the disk has moved to is whole by itself.
  CHAINFS_TRY(plan_.active() ? catalog_.moves().UnmarkChanging({plan_.base})
                             : catalog_.moves().EndedWell(*disk_, *plan_.base, *plan_.top));
  take_back_ = nullptr;
  return {};
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
