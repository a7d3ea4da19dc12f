// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/event_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "blocklayer/base/timestamp.h"

namespace chainfs::jobs {
namespace {

std::string Quoted(std::string_view text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// What a reader gets that was overtaken. It carries the number of the last event that was lost, so
// that numbers within one reader's stream only grow.
std::string LostLine(uint64_t last_lost, uint64_t count) {
  return fmt::format("{{\"seq\":{},\"time\":\"{}\",\"event\":\"LOST\",\"count\":{}}}\n", last_lost,
                     FormatUtc(std::chrono::system_clock::now()), count);
}

}  // namespace

EventField TextField(std::string_view key, std::string_view text) { return {key, Quoted(text)}; }

EventField NumberField(std::string_view key, uint64_t number) {
  return {key, std::to_string(number)};
}

void EventLog::Publish(std::string_view event, const std::vector<EventField>& fields) {
  std::string tail = fmt::format("\"event\":{}", Quoted(event));
  for (const EventField& field : fields) {
    fmt::format_to(std::back_inserter(tail), ",{}:{}", Quoted(field.key), field.json);
  }
  std::vector<Listener> listeners;
  {
    MutexLock lock(mu_);
    // The time is taken under the lock, so that it grows with the sequence number.
    lines_.push_back(fmt::format("{{\"seq\":{},\"time\":\"{}\",{}}}\n", next_sequence_,
                                 FormatUtc(std::chrono::system_clock::now()), tail));
    ++next_sequence_;
    if (lines_.size() > kRetained) lines_.pop_front();
    listeners = listeners_;
  }
  for (const Listener& listener : listeners) listener.callback();
}

uint64_t EventLog::OldestSequence() const {
  MutexLock lock(mu_);
  return next_sequence_ - lines_.size();
}

uint64_t EventLog::NextSequence() const {
  MutexLock lock(mu_);
  return next_sequence_;
}

bool EventLog::HasNews(uint64_t cursor) const {
  MutexLock lock(mu_);
  return cursor < next_sequence_;
}

std::string EventLog::Read(uint64_t* cursor, size_t max_bytes, bool* too_small) const {
  *too_small = false;
  std::string out;
  MutexLock lock(mu_);
  const uint64_t oldest = next_sequence_ - lines_.size();
  if (*cursor < oldest) {
    std::string lost = LostLine(oldest - 1, oldest - *cursor);
    if (lost.size() > max_bytes) {
      *too_small = true;
      return out;
    }
    out = std::move(lost);
    *cursor = oldest;
  }
  for (; *cursor < next_sequence_; ++*cursor) {
    const std::string& line = lines_[*cursor - oldest];
    if (line.size() > max_bytes - out.size()) {
      *too_small = out.empty();
      break;
    }
    out += line;
  }
  return out;
}

uint64_t EventLog::AddNewsCallback(NewsCallback callback) {
  MutexLock lock(mu_);
  listeners_.push_back({.number = next_listener_, .callback = std::move(callback)});
  return next_listener_++;
}

void EventLog::RemoveNewsCallback(uint64_t number) {
  MutexLock lock(mu_);
  std::erase_if(listeners_,
                [number](const Listener& listener) { return listener.number == number; });
}

}  // namespace chainfs::jobs
