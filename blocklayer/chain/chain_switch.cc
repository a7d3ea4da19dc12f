// SPDX-License-Identifier: Apache-2.0
#include "blocklayer/chain/chain_switch.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "blocklayer/chain/stack_registry.h"

namespace chainfs {

// The gate is held from the constructor to the destructor, beyond what the analysis follows; the
// methods between state it.
ChainSwitch::ChainSwitch(Disk& disk) NO_THREAD_SAFETY_ANALYSIS : disk_(disk) {
  disk_.gate_.Close();
}

ChainSwitch::~ChainSwitch() NO_THREAD_SAFETY_ANALYSIS {
  const bool published = beneath_ && old_ != nullptr && disk_.chain() != old_;
  TakeBack();
  disk_.gate_.Open();
  if (!published) return;
  // What a job has freed in the layer is kept by that job's guard until this returns. Who reads
  // through them from now on meets the places of now, which the registry keeps.
  for (const auto& stack : retiring_) stack->DropRegions(GuestOffset(0), stack->size());
}

Status ChainSwitch::CheckWritable() const {
  disk_.gate_.AssertClosed();
  if (disk_.writes_ && !disk_.read_only()) return {};
  const std::string why = disk_.ReadOnlyReason();
  return Fail(ErrorKind::kReadOnly, fmt::format("{}: the disk is read-only{}{}", disk_.name(),
                                                why.empty() ? "" : ": ", why));
}

Status ChainSwitch::Flush() {
  WritableImage* const active = disk_.chain()->active->image->writer();
  return active != nullptr ? active->Flush() : Status();
}

Status ChainSwitch::Prepare(Layers layers) {
  disk_.gate_.AssertClosed();
  StackRegistry& stacks = disk_.context_.stacks();
  old_ = disk_.chain();
  to_ = layers.front();
  beneath_ =
      old_->below && std::ranges::find(old_->below->layers(), to_) != old_->below->layers().end();
  if (!disk_.writes_) {
    return Fail(ErrorKind::kReadOnly, fmt::format("{}: the disk is read-only", disk_.name()));
  }
  if (!beneath_ && !stacks.BeginWriting(*to_)) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{}: somebody else reads or writes {}", disk_.name(), to_->path));
  }
  taken_ = !beneath_;
  if (beneath_) retiring_ = stacks.StacksOf(*to_);
  // The new list may contain it below its top.
  stacks.EndWriting(*old_->active);
  released_ = true;
  const bool left = std::ranges::find(layers, old_->active) == layers.end();
  CHAINFS_ASSIGN(next_, Chain::Make(std::move(layers), disk_.context_));
  if (left) {
    CHAINFS_ASSIGN(kept_, LayerStack::Make({old_->active}, disk_.context_));
  }
  return {};
}

void ChainSwitch::Publish() {
  if (beneath_) disk_.context_.stacks().BeginWritingBeneath(*to_);
  old_->kept = std::move(kept_);
  disk_.chain_.Publish(std::move(next_));
  taken_ = false;
  released_ = false;
}

void ChainSwitch::TakeBack() {
  disk_.gate_.AssertClosed();
  StackRegistry& stacks = disk_.context_.stacks();
  // The stacks that were made go first: nobody else has them.
  next_.reset();
  kept_.reset();
  if (taken_) stacks.EndWriting(*to_);
  if (!released_) return;
  disk_.writes_ = stacks.BeginWriting(*old_->active);
  if (disk_.writes_) return;
  disk_.access_.Forbid("a change of its layers failed, and somebody reads its layer; mount again");
}

}  // namespace chainfs
