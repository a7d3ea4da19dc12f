// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/client.h"

#include <fmt/format.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "ctl/control/status_attributes.h"
#include "ctl/verbs/job_id.h"

namespace chainfs::qmp {
namespace {

// A job that was dismissed holds its id until the thread that has ended it is done.
constexpr std::chrono::milliseconds kIdPause{2};
constexpr int kIdAttempts = 500;

}  // namespace

Status Client::Order(std::string_view verb, const verbs::Arguments& arguments,
                     const DiskPtr& disk) {
  Status done = plane.commands.Execute(verb, arguments.Format(), disk, caller);
  if (!done) Remember(verb, disk, done.error());
  return done;
}

void Client::Remember(std::string_view verb, const DiskPtr& disk, const Error& refusal) {
  const control::ServedDiskPtr served = disk ? plane.disks.Find(*disk) : nullptr;
  plane.errors.CommandRefused(served.get(), fmt::format("{}{}", control::kAttributePrefix, verb),
                              refusal);
}

QmpStatus StartJob(Client& client, std::string_view verb, verbs::Arguments arguments,
                   const DiskPtr& disk, const JobChoice& choice) {
  if (!verbs::IsLegalJobId(choice.id)) return Refuse(fmt::format("Invalid job ID '{}'", choice.id));
  client.started.Sweep();
  const auto in_use = [&] { return client.plane.jobs.Find("", choice.id).has_value(); };
  if (in_use()) return Refuse(fmt::format("Job ID '{}' already in use", choice.id));
  arguments.Set("id", choice.id);
  for (int attempt = 1;; ++attempt) {
    const Status started =
        client.plane.commands.Execute(verb, arguments.Format(), disk, client.caller);
    if (started) break;
    const bool leaving = started.error().kind == ErrorKind::kExists && !in_use();
    if (!leaving || attempt == kIdAttempts) {
      client.Remember(verb, disk, started.error());
      return started;
    }
    std::this_thread::sleep_for(kIdPause);
  }
  if (choice.auto_dismiss) client.started.Add(choice.id);
  return {};
}

}  // namespace chainfs::qmp
