// SPDX-License-Identifier: Apache-2.0
#include "tests/support/crash_enumerator.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace chainfs {
namespace {

using Kind = PendingChange::Kind;
using Tear = CrashState::Tear;

constexpr uint64_t kSector = 512;

bool KeepsSector(Tear tear, uint64_t index) {
  switch (tear) {
    case Tear::kWhole:
      return true;
    case Tear::kFirstOnly:
      return index == 0;
    case Tear::kAllButFirst:
      return index != 0;
    case Tear::kOddOnly:
      return index % 2 == 1;
  }
  return true;
}

bool SpansSectors(const HostEvent& event) {
  return event.length > 0 && event.offset / kSector != (event.offset + event.length - 1) / kSector;
}

void WriteTorn(SparseBytes& bytes, const HostEvent& event, Tear tear) {
  std::span<const std::byte> data = *event.data;
  uint64_t offset = event.offset;
  if (tear == Tear::kWhole) return bytes.WriteUnseen(offset, data);
  for (uint64_t index = 0; !data.empty(); ++index) {
    const size_t part = std::min<uint64_t>(data.size(), kSector - offset % kSector);
    if (KeepsSector(tear, index)) bytes.WriteUnseen(offset, data.first(part));
    data = data.subspan(part);
    offset += part;
  }
}

const char* KindName(Kind kind) {
  switch (kind) {
    case Kind::kGrow:
      return "growth";
    case Kind::kShrink:
      return "shrinking";
    case Kind::kData:
      return "data";
    case Kind::kClear:
      return "zeroing";
    case Kind::kName:
      return "name";
  }
  return "?";
}

}  // namespace

std::string CrashState::Describe() const {
  const std::string_view last =
      point == 0 ? "start" : std::string_view(HostOpName(recording->events[point - 1].op));
  std::string text =
      fmt::format("crash after event {} ({})", static_cast<int64_t>(point) - 1, last);
  for (size_t i = 0; i < choices.size(); ++i) {
    const PendingChange& change = (*pending)[i];
    const std::string event = recording->events[change.event].Describe();
    if (!choices[i].kept) {
      text += fmt::format("; lost {} of event {}: {}", KindName(change.kind), change.event, event);
    } else if (choices[i].tear != Tear::kWhole) {
      static constexpr const char* kNames[] = {"", "first sector only", "all but the first sector",
                                               "every second sector only"};
      text += fmt::format("; {} of event {}: {}", kNames[static_cast<size_t>(choices[i].tear)],
                          change.event, event);
    }
  }
  return text;
}

CrashEnumerator::CrashEnumerator(std::shared_ptr<const Recording> recording, CrashOptions options)
    : recording_(std::move(recording)), options_(options), random_(options.seed) {
  MoveTo(0);
}

bool CrashEnumerator::ForEachState(const Visitor& visit) {
  for (size_t point = 0; point < points(); ++point) {
    if (!ForEachStateAt(point, visit)) return false;
  }
  return true;
}

void CrashEnumerator::MoveTo(size_t point) {
  if (point < position_ || point == 0) {
    position_ = 0;
    durable_ = recording_->base;
    pending_.clear();
    seen_.clear();
    live_size_.clear();
    for (const auto& [inode, node] : durable_.nodes) live_size_[inode] = node.bytes.size();
  }
  while (position_ < point) Consume(position_++);
}

void CrashEnumerator::GrowIfNeeded(size_t index) {
  const HostEvent& event = recording_->events[index];
  uint64_t& live = live_size_[event.inode];
  if (event.offset + event.length <= live) return;
  live = event.offset + event.length;
  AddPending({.kind = Kind::kGrow, .event = index, .inode = event.inode, .size = live});
}

void CrashEnumerator::Consume(size_t index) {
  const HostEvent& event = recording_->events[index];
  switch (event.op) {
    case HostOp::kWrite:
    case HostOp::kCopy:
      GrowIfNeeded(index);
      AddPending({.kind = Kind::kData, .event = index, .inode = event.inode});
      break;
    case HostOp::kZero:
      GrowIfNeeded(index);
      [[fallthrough]];
    case HostOp::kPunch:
      AddPending({.kind = Kind::kClear, .event = index, .inode = event.inode});
      break;
    case HostOp::kTruncate: {
      uint64_t& live = live_size_[event.inode];
      if (event.length != live) {
        AddPending({.kind = event.length < live ? Kind::kShrink : Kind::kGrow,
                    .event = index,
                    .inode = event.inode,
                    .size = event.length});
      }
      live = event.length;
      break;
    }
    case HostOp::kDataSync:
      MakeDurable(event.inode, false);
      break;
    case HostOp::kRevert:
      std::erase_if(pending_, [&](const PendingChange& change) {
        return change.inode == event.inode &&
               (change.kind == Kind::kData || change.kind == Kind::kClear);
      });
      break;
    case HostOp::kCreate:
    case HostOp::kMakeDirectory:
      durable_.nodes[event.target].is_directory = event.op == HostOp::kMakeDirectory;
      AddPending({.kind = Kind::kName, .event = index, .inode = event.inode});
      break;
    case HostOp::kRemove:
      AddPending({.kind = Kind::kName, .event = index, .inode = event.inode});
      break;
    case HostOp::kRename:
      AddPending({.kind = Kind::kName, .event = index, .inode = event.to_directory});
      break;
    case HostOp::kDirectorySync:
      MakeDurable(event.inode, true);
      break;
    case HostOp::kMark:
      if (event.new_epoch) seen_.clear();
      break;
    default:
      break;
  }
}

void CrashEnumerator::MakeDurable(uint64_t inode, bool names) {
  const auto waits = [&](const PendingChange& change) {
    return change.inode == inode && (change.kind == Kind::kName) == names;
  };
  for (const PendingChange& change : pending_) {
    if (waits(change)) Apply(durable_, change, Tear::kWhole);
  }
  std::erase_if(pending_, waits);
  if (!names) durable_.nodes.at(inode).bytes.CutAtSize();
}

void CrashEnumerator::Apply(HostTree& tree, const PendingChange& change, Tear tear) const {
  const HostEvent& event = recording_->events[change.event];
  if (change.kind == Kind::kName) {
    if (event.op == HostOp::kRemove) {
      tree.nodes.at(event.inode).entries.erase(event.name);
    } else if (event.op == HostOp::kRename) {
      tree.nodes.at(event.inode).entries.erase(event.name);
      tree.nodes.at(event.to_directory).entries[event.to_name] = event.target;
    } else {
      tree.nodes.at(event.inode).entries[event.name] = event.target;
    }
    return;
  }
  SparseBytes& bytes = tree.nodes.at(change.inode).bytes;
  switch (change.kind) {
    case Kind::kGrow:
      bytes.GrowUnseen(change.size);
      break;
    case Kind::kShrink:
      bytes.Clear(change.size, UINT64_MAX);
      if (bytes.size() > change.size) bytes.Resize(change.size);
      break;
    case Kind::kClear:
      bytes.Clear(event.offset, event.length);
      break;
    default:
      WriteTorn(bytes, event, tear);
      break;
  }
}

std::vector<CrashEnumerator::Choices> CrashEnumerator::SampledSubsets() {
  const size_t n = pending_.size();
  const Choices none(n, {.kept = false, .tear = Tear::kWhole});
  const Choices all(n, {.kept = true, .tear = Tear::kWhole});
  std::vector<Choices> subsets;
  for (size_t prefix = 0; prefix <= n; ++prefix) {
    Choices choices = none;
    std::fill_n(choices.begin(), prefix, CrashState::Choice{.kept = true, .tear = Tear::kWhole});
    subsets.push_back(choices);
  }
  for (size_t i = 0; i < n; ++i) {
    subsets.push_back(all);
    subsets.back()[i].kept = false;
    subsets.push_back(none);
    subsets.back()[i].kept = true;
  }
  const size_t torn = subsets.size();
  for (size_t i = 0; i < torn && options_.tears; ++i) {
    AddTears(Choices(subsets[i]), subsets);
  }
  size_t pairs = 0;
  for (size_t i = 0; i < n && pairs < options_.pair_losses; ++i) {
    for (size_t j = i + 1; j < n && pairs < options_.pair_losses; ++j, ++pairs) {
      subsets.push_back(all);
      subsets.back()[i].kept = false;
      subsets.back()[j].kept = false;
    }
  }
  for (size_t i = 0; i < options_.random_subsets; ++i) {
    subsets.push_back(none);
    for (CrashState::Choice& choice : subsets.back()) choice.kept = random_.OneIn(2);
  }
  return subsets;
}

std::vector<CrashEnumerator::Choices> CrashEnumerator::Subsets() {
  const size_t n = pending_.size();
  if (n > options_.exhaustive_limit || n > 20) return SampledSubsets();
  std::vector<Choices> subsets;
  for (uint64_t mask = 0; mask < (uint64_t{1} << n); ++mask) {
    Choices choices(n);
    size_t lost = 0;
    for (size_t i = 0; i < n; ++i) {
      choices[i].kept = (mask >> i & 1) != 0;
      lost += choices[i].kept ? 0 : 1;
    }
    subsets.push_back(choices);
    // Tears of everything would multiply the states; with many changes the interesting ones are
    // those that lost little or nothing else.
    if (options_.tears && (n <= 5 || lost <= 1 || lost + 1 >= n)) AddTears(choices, subsets);
  }
  return subsets;
}

void CrashEnumerator::AddTears(const Choices& choices, std::vector<Choices>& to) {
  std::vector<size_t> tearable;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (choices[i].kept && pending_[i].kind == Kind::kData &&
        SpansSectors(recording_->events[pending_[i].event])) {
      tearable.push_back(i);
    }
  }
  if (tearable.empty()) return;
  const size_t last = tearable.back();
  const size_t other = tearable[random_.Below(tearable.size())];
  for (const Tear tear : {Tear::kFirstOnly, Tear::kAllButFirst, Tear::kOddOnly}) {
    to.push_back(choices);
    to.back()[last].tear = tear;
    if (other == last) continue;
    to.push_back(choices);
    to.back()[other].tear = tear;
  }
}

bool CrashEnumerator::ForEachStateAt(size_t point, const Visitor& visit) {
  MoveTo(point);
  // A note changes nothing and allows more: nothing new to see.
  const HostEvent* last = point == 0 ? nullptr : &recording_->events[point - 1];
  if (options_.deduplicate && last != nullptr && last->op == HostOp::kMark && !last->new_epoch) {
    return true;
  }
  CrashState state;
  state.point = point;
  state.recording = recording_;
  state.pending = std::make_shared<const std::vector<PendingChange>>(pending_);
  size_t count = 0;
  for (Choices& choices : Subsets()) {
    if (count >= options_.max_states_per_point) break;
    state.tree = durable_;
    for (size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].kept) Apply(state.tree, pending_[i], choices[i].tear);
    }
    for (const PendingChange& change : pending_) {
      if (change.kind != Kind::kName) state.tree.nodes.at(change.inode).bytes.CutAtSize();
    }
    state.hash = state.tree.Hash();
    if (!seen_.insert(state.hash).second && options_.deduplicate) {
      ++duplicates_;
      continue;
    }
    state.choices = std::move(choices);
    ++visited_;
    ++count;
    if (!visit(state)) return false;
  }
  return true;
}

}  // namespace chainfs
