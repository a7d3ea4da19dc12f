// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/job.h"

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <utility>

namespace chainfs::jobs {
namespace {

constexpr size_t kStatuses = 11;
constexpr size_t kVerbs = 8;

constexpr std::array<std::string_view, kStatuses> kStatusNames = {
    "undefined", "created", "running",  "paused",    "ready", "standby",
    "waiting",   "pending", "aborting", "concluded", "null"};
constexpr std::array<std::string_view, kVerbs> kVerbNames = {
    "cancel", "pause", "resume", "set-speed", "complete", "finalize", "dismiss", "change"};

constexpr uint16_t Bit(JobStatus status) {
  return static_cast<uint16_t>(1u << std::to_underlying(status));
}

constexpr uint16_t Bits(auto... statuses) {
  return static_cast<uint16_t>((0u | ... | Bit(statuses)));
}

// What may follow each status, in the order of the enumeration.
constexpr std::array<uint16_t, kStatuses> kNext = {
    Bits(JobStatus::kCreated),                                             // undefined
    Bits(JobStatus::kRunning, JobStatus::kAborting, JobStatus::kNull),     // created
    Bits(JobStatus::kPaused, JobStatus::kReady, JobStatus::kWaiting,       //
         JobStatus::kAborting),                                            // running
    Bits(JobStatus::kRunning),                                             // paused
    Bits(JobStatus::kStandby, JobStatus::kWaiting, JobStatus::kAborting),  // ready
    Bits(JobStatus::kReady),                                               // standby
    Bits(JobStatus::kPending, JobStatus::kAborting),                       // waiting
    Bits(JobStatus::kAborting, JobStatus::kConcluded),                     // pending
    Bits(JobStatus::kAborting, JobStatus::kConcluded),                     // aborting
    Bits(JobStatus::kNull),                                                // concluded
    Bits(),                                                                // null
};

constexpr uint16_t kAlive = Bits(JobStatus::kCreated, JobStatus::kRunning, JobStatus::kPaused,
                                 JobStatus::kReady, JobStatus::kStandby);
// In which statuses each verb is legal, in the order of the enumeration.
constexpr std::array<uint16_t, kVerbs> kLegal = {
    Bits(JobStatus::kCreated, JobStatus::kRunning, JobStatus::kPaused, JobStatus::kReady,
         JobStatus::kStandby, JobStatus::kWaiting, JobStatus::kPending),  // cancel
    kAlive,                                                               // pause
    kAlive,                                                               // resume
    kAlive,                                                               // set-speed
    Bits(JobStatus::kReady, JobStatus::kStandby),                         // complete
    Bits(JobStatus::kPending),                                            // finalize
    Bits(JobStatus::kConcluded),                                          // dismiss
    kAlive,                                                               // change
};

}  // namespace

std::string_view JobStatusName(JobStatus status) {
  return kStatusNames.at(std::to_underlying(status));
}

std::string_view JobVerbName(JobVerb verb) { return kVerbNames.at(std::to_underlying(verb)); }

bool JobTransitionAllowed(JobStatus from, JobStatus to) {
  return (kNext.at(std::to_underlying(from)) & Bit(to)) != 0;
}

bool JobVerbAllowed(JobVerb verb, JobStatus status) {
  return (kLegal.at(std::to_underlying(verb)) & Bit(status)) != 0;
}

Status CheckJobVerb(std::string_view id, JobVerb verb, JobStatus status) {
  if (JobVerbAllowed(verb, status)) return {};
  if (status == JobStatus::kConcluded || status == JobStatus::kAborting) {
    return Fail(ErrorKind::kInvalidArgument, fmt::format("{} has already finished", id));
  }
  if (verb == JobVerb::kDismiss) {
    return Fail(
        ErrorKind::kInvalidArgument,
        fmt::format("{} has not finished yet; wait for it or cancel it, then dismiss it", id));
  }
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("{} is {}; a job in this state takes no \"{}\"", id,
                          JobStatusName(status), JobVerbName(verb)));
}

}  // namespace chainfs::jobs
