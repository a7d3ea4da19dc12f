// SPDX-License-Identifier: Apache-2.0
//
// EventLog: the last 1,024 events, each one line of JSON with a sequence number. Readers keep their
// own cursor and are told by callbacks when there is news; nothing here blocks.
//
// Threads: all methods, any thread. News callbacks run on the publisher's thread with no lock of
// the log held; they must be quick and must not publish.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"

namespace chainfs::jobs {

// One field of an event: `json` is a complete JSON value ("\"vm1\"", "41", "true").
struct EventField {
  std::string_view key;
  std::string json;
};
// Helpers that make such values; strings are escaped, invalid UTF-8 replaced.
EventField TextField(std::string_view key, std::string_view text);
EventField NumberField(std::string_view key, uint64_t number);

class EventLog {
 public:
  static constexpr size_t kRetained = 1024;

  // Adds {"seq":N,"time":"RFC 3339 UTC with microseconds","event":`event`, fields...}.
  void Publish(std::string_view event, const std::vector<EventField>& fields) EXCLUDES(mu_);

  // The sequence number of the oldest retained event: where a reader starts that wants them all.
  uint64_t OldestSequence() const EXCLUDES(mu_);
  // That of the event to come: where a reader starts that wants what happens from now on.
  uint64_t NextSequence() const EXCLUDES(mu_);
  // Whether a reader at `cursor` has something to read.
  bool HasNews(uint64_t cursor) const EXCLUDES(mu_);
  // Whole lines from `cursor` on, at most `max_bytes`, and moves the cursor. A reader that was
  // overtaken first gets {"event":"LOST","count":N}. Empty when there is no news, or when
  // `max_bytes` is too small for the next line (then *too_small is set).
  std::string Read(uint64_t* cursor, size_t max_bytes, bool* too_small) const EXCLUDES(mu_);

  using NewsCallback = std::function<void()>;
  // It is called after every event until it is removed by the number that is returned, and perhaps
  // once more by somebody who was just publishing then.
  uint64_t AddNewsCallback(NewsCallback callback) EXCLUDES(mu_);
  void RemoveNewsCallback(uint64_t number) EXCLUDES(mu_);

 private:
  struct Listener {
    uint64_t number;
    NewsCallback callback;
  };

  mutable Mutex mu_;
  std::deque<std::string> lines_ GUARDED_BY(mu_);
  uint64_t next_sequence_ GUARDED_BY(mu_) = 1;  // of the event after lines_.back()
  std::vector<Listener> listeners_ GUARDED_BY(mu_);
  uint64_t next_listener_ GUARDED_BY(mu_) = 1;
};

}  // namespace chainfs::jobs
