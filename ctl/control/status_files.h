// SPDX-License-Identifier: Apache-2.0
//
// StatusFiles: what the whole mount looks like, as texts that a transport shows as files. Contents
// are those of the moment. The map of a disk is in map_stream.h.
//
// Threads: all methods, any thread; no lock of its own.
#pragma once

#include <string>

#include "blocklayer/catalog/catalog.h"
#include "ctl/control/read_traces.h"
#include "ctl/control/served_disks.h"
#include "jobs/engine/job_manager.h"

namespace chainfs::control {

class StatusFiles {
 public:
  // All must outlive this.
  StatusFiles(Catalog& catalog, const jobs::JobManager& jobs, const ServedDisks& disks,
              const ReadTraces& traces)
      : catalog_(catalog), jobs_(jobs), disks_(disks), traces_(traces) {}

  // JSON, with a newline at the end.
  std::string Chains() const;  // disks with their layers, broken images, notes
  std::string Jobs() const;    // of all disks
  std::string Layers() const;  // every image file; waits for changes of chains under way
  // Prometheus text.
  std::string Metrics() const;

 private:
  Catalog& catalog_;
  const jobs::JobManager& jobs_;
  const ServedDisks& disks_;
  const ReadTraces& traces_;
};

}  // namespace chainfs::control
