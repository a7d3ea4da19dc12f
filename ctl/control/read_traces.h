// SPDX-License-Identifier: Apache-2.0
//
// ReadTraces: which disks' reads are being recorded, and in which files. What is read is kept in
// memory; the file is there from the start, as a trace of nothing, so that its name is certain, and
// is written when the recording stops. A daemon that is killed leaves the trace of nothing.
//
// Limits: kMostTraces disks at once; of each what jobs/copy/read_trace.h permits.
//
// Threads: all methods, any thread. write_mu_ orders Start, Stop and StopAll and is held across
// their I/O, before the locks of the catalog; mu_ is a leaf.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "blocklayer/base/sync.h"
#include "blocklayer/catalog/catalog.h"
#include "blocklayer/chain/first_reads.h"
#include "jobs/engine/event_log.h"

namespace chainfs::control {

class ReadTraces {
 public:
  static constexpr size_t kMostTraces = 16;

  // Both outlive this. `events` is told when a recording begins (TRACE_STARTED) and when it is over
  // (TRACE_STOPPED, with why it is lost where it is).
  ReadTraces(Catalog& catalog, jobs::EventLog& events) : catalog_(catalog), events_(events) {}

  // Makes the file, and records from then on. `anywhere`: it may lie outside of the sources. kBusy
  // when the disk is being recorded, or too many are; else as UserFiles::ForNew and
  // Directory::Create.
  Status Start(const DiskPtr& disk, const std::string& file, bool anywhere)
      EXCLUDES(write_mu_, mu_);
  // The file is complete and durable on return. When it cannot be, it is removed: what was recorded
  // is lost. kInvalidArgument when the disk is not being recorded.
  Status Stop(const DiskPtr& disk) EXCLUDES(write_mu_, mu_);
  // For the end of the daemon; failures are told in the log.
  void StopAll() EXCLUDES(write_mu_, mu_);
  // Where what is read of the disk is being recorded.
  std::optional<std::string> FileOf(const Disk& disk) const EXCLUDES(mu_);

 private:
  struct Trace {
    // Null: of a disk that has gone. Lets go of none: that may close files.
    bool IsOf(const Disk* which) const {
      return which == nullptr ? disk.expired() : address == which && !disk.expired();
    }
    std::weak_ptr<Disk> disk;
    const Disk* address;  // of it, also when another one has it by now
    std::string disk_name;
    FileLocation location;
    std::unique_ptr<File> file;
    std::shared_ptr<FirstReads> reads;  // a tap of the disk
  };

  // Takes the trace of the disk out of the list.
  std::optional<Trace> Take(const Disk* disk) EXCLUDES(mu_);
  // Stops what disks that have gone have left, so that nothing is kept for them.
  void StopForgotten() REQUIRES(write_mu_) EXCLUDES(mu_);
  Status Finish(const Trace& trace);
  void Publish(std::string_view event, const Trace& trace, std::string_view error);

  Catalog& catalog_;
  jobs::EventLog& events_;
  Mutex write_mu_;
  mutable Mutex mu_ ACQUIRED_AFTER(write_mu_);
  std::vector<Trace> traces_ GUARDED_BY(mu_);
};

}  // namespace chainfs::control
