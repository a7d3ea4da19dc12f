// SPDX-License-Identifier: Apache-2.0
//
// StreamRequest: what a test asks of a stream, field by field, and how it asks.
#pragma once

#include <optional>
#include <string>

#include "blocklayer/catalog/catalog.h"
#include "jobs/engine/job_manager.h"
#include "jobs/stream/stream_work.h"

namespace chainfs::jobs {

struct StreamRequest {
  std::string disk = {};
  std::string id = {};
  std::optional<std::string> top = {};
  std::optional<std::string> base = {};
  uint64_t speed = 0;  // bytes per second
  OnError on_error = OnError::kReport;
  RemoveLayers remove = RemoveLayers::kNo;
  std::optional<std::string> compress = {};
  std::optional<std::string> trace = {};
  std::optional<uint64_t> generation = {};
  bool dry_run = false;
};

// The command that somebody would give for it.
inline verbs::Arguments ArgumentsOf(const StreamRequest& request) {
  verbs::Arguments arguments;
  arguments.SetIf("top", request.top).SetIf("base", request.base);
  arguments.SetIf("compress", request.compress).SetIf("trace", request.trace);
  if (!request.id.empty()) arguments.Set("id", request.id);
  if (request.speed != 0) arguments.Set("speed", std::to_string(request.speed));
  arguments.Set("on-error", OnErrorName(request.on_error));
  if (request.remove != RemoveLayers::kNo) arguments.Set("delete", "yes");
  if (request.generation) arguments.Set("generation", std::to_string(*request.generation));
  if (request.dry_run) arguments.Set("dry-run", "yes");
  return arguments;
}

inline Result<std::string> StartStream(JobManager& jobs, const Catalog& catalog,
                                       const StreamRequest& request) {
  DiskPtr disk = catalog.Find(request.disk);
  if (disk == nullptr) return Fail(ErrorKind::kNotFound, "there is no disk " + request.disk);
  return jobs.Start({.type = "stream",
                     .disk = std::move(disk),
                     .arguments = ArgumentsOf(request),
                     .privileged = request.remove == RemoveLayers::kAnywhere});
}

}  // namespace chainfs::jobs
