// SPDX-License-Identifier: Apache-2.0
#include "jobs/engine/chunk_work.h"

#include <fmt/format.h>

namespace chainfs::jobs {

Status ChunkWork::Complete(const verbs::Arguments& arguments) {
  if (arguments.items().empty()) return {};
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("this type of job has one end only; leave {}= out",
                          arguments.items().front().first));
}

Status ChunkWork::Change(const verbs::Arguments& /*arguments*/) {
  return Fail(ErrorKind::kInvalidArgument,
              "of this type of job, only priority= can be changed while it runs; for its speed "
              "there is \"speed\"");
}

}  // namespace chainfs::jobs
