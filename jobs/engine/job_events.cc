// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job_events.h"

#include <spdlog/spdlog.h>

#include <new>
#include <vector>

namespace chainfs::jobs {

void JobEvents::Publish(std::string_view event, std::initializer_list<Fact> facts) const {
  try {
    std::vector<EventField> fields;
    for (const Fact& fact : facts) {
      fields.push_back(fact.number ? NumberField(fact.key, *fact.number)
                                   : TextField(fact.key, fact.text));
    }
    fields.push_back(TextField("disk", subject_.disk));
    fields.push_back(TextField("id", subject_.id));
    log_.Publish(event, fields);
  } catch (const std::bad_alloc&) {
    spdlog::error("job {}: no memory for an event", subject_.id);
  }
}

void JobEvents::Started() const {
  if (subject_.dry_run) return;
  spdlog::info("job {} of disk {}: {} started", subject_.id, subject_.disk, subject_.type);
}

void JobEvents::StatusChanged(JobStatus status) const {
  Publish("JOB_STATUS_CHANGE", {{"status", JobStatusName(status)}});
}

void JobEvents::Progressed(const Figures& figures) const {
  Publish("JOB_PROGRESS", {{"type", subject_.type},
                           {"current-progress", {}, figures.current},
                           {"total-progress", {}, figures.total},
                           {"speed", {}, figures.speed},
                           {"rate", {}, figures.rate}});
}

void JobEvents::Ready(const Figures& figures) const {
  if (subject_.dry_run) return;
  Publish("BLOCK_JOB_READY", {{"type", subject_.type},
                              {"device", subject_.disk},
                              {"len", {}, figures.total},
                              {"offset", {}, figures.current},
                              {"speed", {}, figures.speed}});
}

void JobEvents::ChunkFailed(uint64_t offset, bool writing, std::string_view action,
                            const Error& error) const {
  spdlog::warn("{} {} of {}: at {}: {} (action: {})", subject_.dry_run ? "dry run" : "job",
               subject_.id, subject_.disk, offset, error.message, action);
  if (subject_.dry_run) return;
  Publish("BLOCK_JOB_ERROR", {{"device", subject_.disk},
                              {"operation", writing ? "write" : "read"},
                              {"action", action},
                              {"reason", error.message}});
}

void JobEvents::StoodStill(const Error& error) const {
  const bool no_space = error.kind == ErrorKind::kNoSpace;
  spdlog::warn("job {} of disk {} is paused: {}; {}, then: chainctl resume {} {}", subject_.id,
               subject_.disk, error.message, no_space ? "free some space" : "mend that",
               subject_.disk, subject_.id);
}

void JobEvents::EndWaits(const Error& reason) const {
  spdlog::info("job {} of disk {} has nothing left to do but cannot end yet: {}", subject_.id,
               subject_.disk, reason.message);
}

void JobEvents::NotRemoved(const std::string& problem) const {
  spdlog::warn("job {} of disk {}: a layer that nobody needs was not removed: {}", subject_.id,
               subject_.disk, problem);
}

void JobEvents::LogEnd(End end, const Figures& figures, const Error* error) const {
  if (end == End::kCancelled) {
    spdlog::info("job {} of disk {}: {} was cancelled", subject_.id, subject_.disk, subject_.type);
  } else if (end == End::kFailed) {
    spdlog::warn("job {} of disk {}: {} failed: {}", subject_.id, subject_.disk, subject_.type,
                 error->message);
  } else {
    spdlog::info("job {} of disk {}: {} has finished, {} bytes copied", subject_.id, subject_.disk,
                 subject_.type, figures.copied);
  }
}

void JobEvents::Ended(End end, const Figures& figures, const Error* error) const {
  if (subject_.dry_run) return;
  LogEnd(end, figures, error);
  const Fact type{"type", subject_.type};
  const Fact device{"device", subject_.disk};
  const Fact len{"len", {}, figures.total};
  const Fact offset{"offset", {}, figures.current};
  const Fact speed{"speed", {}, figures.speed};
  if (end == End::kCancelled) {
    Publish("BLOCK_JOB_CANCELLED", {type, device, len, offset, speed});
  } else if (end == End::kFailed) {
    Publish("BLOCK_JOB_COMPLETED", {type, device, len, offset, speed, {"error", error->message}});
  } else {
    Publish("BLOCK_JOB_COMPLETED", {type, device, len, offset, speed});
  }
}

}  // namespace chainfs::jobs
