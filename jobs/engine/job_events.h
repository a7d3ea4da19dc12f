// SPDX-License-Identifier: Apache-2.0
//
// JobEvents: what the event log and the daemon's log are told of one job, in QEMU's words. A dry
// run tells of its statuses only: whoever watches for work that ends or is in trouble must not take
// it for one.
//
// Threads: any; the caller's lock orders the events of a job. Nothing here throws.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "blocklayer/base/error.h"
#include "jobs/engine/event_log.h"
#include "jobs/engine/job.h"

namespace chainfs::jobs {

class JobEvents {
 public:
  struct Subject {
    std::string id;
    std::string type;
    std::string disk;
    bool dry_run = false;
  };
  // In bytes and bytes per second.
  struct Figures {
    uint64_t total = 0;
    uint64_t current = 0;
    uint64_t speed = 0;
    uint64_t rate = 0;
    uint64_t copied = 0;
  };
  enum class End : uint8_t { kWell, kFailed, kCancelled };

  // `log` outlives this.
  JobEvents(EventLog& log, Subject subject) : log_(log), subject_(std::move(subject)) {}

  void Started() const;
  void StatusChanged(JobStatus status) const;
  void Progressed(const Figures& figures) const;
  void Ready(const Figures& figures) const;
  // At `offset` of what the job walks; `action` is what follows from on-error.
  void ChunkFailed(uint64_t offset, bool writing, std::string_view action,
                   const Error& error) const;
  void StoodStill(const Error& error) const;          // until somebody resumes it
  void EndWaits(const Error& reason) const;           // until that is over
  void NotRemoved(const std::string& problem) const;  // a layer that nobody needs any more
  // `error`: why it failed.
  void Ended(End end, const Figures& figures, const Error* error) const;

 private:
  // One field of an event, without memory of its own.
  struct Fact {
    std::string_view key;
    std::string_view text;
    std::optional<uint64_t> number = std::nullopt;  // takes the place of `text`
  };
  // Disk and id come by themselves.
  void Publish(std::string_view event, std::initializer_list<Fact> facts) const;
  void LogEnd(End end, const Figures& figures, const Error* error) const;

  EventLog& log_;
  const Subject subject_;
};

}  // namespace chainfs::jobs
