// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/status_table.h"

#include <algorithm>
#include <array>

namespace chainfs::verbs {
namespace {

constexpr std::array kAttributes = {
    StatusAttribute{"info", Scope::kDisk, "The disk: name, sizes, whether and why read-only"},
    StatusAttribute{"chain", Scope::kDisk, "Its layers, active layer first"},
    StatusAttribute{"jobs", Scope::kBoth, "Its jobs, or those of the mount, newest first"},
    StatusAttribute{"job", Scope::kDisk, "Its newest job; job.ID is the one of that name"},
    StatusAttribute{"error", Scope::kBoth, "What was refused last, or failed, and why"},
    StatusAttribute{"version", Scope::kMount, "The version of the daemon"},
    StatusAttribute{"config", Scope::kMount, "Process id, sources and options of the daemon"},
};

constexpr std::array kFiles = {
    StatusFile{"events", "Events as JSON Lines; a read waits for news"},
    StatusFile{"chains.json", "Every chain with its layers, what is broken, and notes"},
    StatusFile{"layers.json", "Every layer: who is built on it, whether anybody needs it"},
    StatusFile{"jobs.json", "Every job of the mount"},
    StatusFile{"map", "A directory; map/NAME.json has the extents of a disk"},
    StatusFile{"changed", "A directory; changed/NAME.json has what the active layer of a disk has"},
    StatusFile{"metrics", "Prometheus text"},
};

constexpr std::array kEvents = {
    Event{"JOB_STATUS_CHANGE", "A job has another status"},
    Event{"JOB_PROGRESS", "How far a job has come, at most once per second"},
    Event{"BLOCK_JOB_READY", "A job has nothing left to do and waits for complete"},
    Event{"BLOCK_JOB_COMPLETED", "A job has ended; with error if it failed"},
    Event{"BLOCK_JOB_CANCELLED", "A job has ended because it was cancelled"},
    Event{"BLOCK_JOB_ERROR", "A job met an error, and what it does about it"},
    Event{"CHAIN_CHANGE", "A disk has another chain, and its generation"},
    Event{"DISK_RESIZE", "A disk was given another size by a command"},
    Event{"TRACE_STARTED", "What is read of a disk is being recorded"},
    Event{"TRACE_STOPPED", "A recording of reads is over; with error if it is lost"},
    Event{"BLOCK_IMAGE_CORRUPTED", "An image contradicts itself; its disk is read-only"},
    Event{"BLOCK_IO_ERROR", "Reading or writing an image failed"},
    Event{"LOST", "The reader was slow; count events are missing here"},
    Event{"SHUTDOWN", "The daemon ends; end of file follows"},
};

}  // namespace

std::span<const StatusAttribute> StatusAttributes() { return kAttributes; }

const StatusAttribute* FindStatusAttribute(std::string_view name) {
  const auto found = std::ranges::find(kAttributes, name, &StatusAttribute::name);
  return found == kAttributes.end() ? nullptr : &*found;
}

std::span<const StatusFile> StatusFiles() { return kFiles; }

std::span<const Event> Events() { return kEvents; }

}  // namespace chainfs::verbs
