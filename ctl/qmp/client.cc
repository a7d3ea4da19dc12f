// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <span>
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
  Status done = plane.CheckWriting(std::span(&disk, 1), false, caller);
  if (done) done = plane.commands.Execute(verb, arguments.Format(), disk, caller);
  if (!done) Remember(verb, disk, done.error());
  return done;
}

Status Client::OrderJob(std::string_view verb, const verbs::Arguments& arguments,
                        const jobs::JobInfo& job) {
  std::vector<DiskPtr> about = {catalog.Find(job.disk)};
  std::erase(about, nullptr);
  Status done = plane.CheckWriting(about, true, caller);
  if (done) done = plane.commands.Execute(verb, arguments.Format(), nullptr, caller);
  if (!done) Remember(verb, nullptr, done.error());
  return done;
}

void Client::Remember(std::string_view verb, const DiskPtr& disk, const Error& refusal) {
  const control::ServedDiskPtr served = disk ? plane.disks.Find(*disk) : nullptr;
  plane.errors.CommandRefused(served.get(), fmt::format("{}{}", control::kAttributePrefix, verb),
                              refusal);
}

QmpStatus CheckNewJobId(Client& client, const std::string& id) {
  if (!verbs::IsLegalJobId(id)) return Refuse(fmt::format("Invalid job ID '{}'", id));
  client.started.Sweep();
  if (!client.plane.jobs.Find("", id)) return {};
  return Refuse(fmt::format("Job ID '{}' already in use", id));
}

Status StartUnderIds(Client& client, const std::vector<std::string>& ids,
                     const std::function<Status()>& start) {
  for (int attempt = 1;; ++attempt) {
    Status started = start();
    if (started || started.error().kind != ErrorKind::kExists) return started;
    const bool in_use = std::ranges::any_of(
        ids, [&](const std::string& id) { return client.plane.jobs.Find("", id).has_value(); });
    if (in_use || attempt == kIdAttempts) return started;
    std::this_thread::sleep_for(kIdPause);
  }
}

QmpStatus StartJob(Client& client, const JobOrder& order) {
  const std::string& id = order.choice.id;
  CHAINFS_TRY(CheckNewJobId(client, id));
  verbs::Arguments arguments = order.arguments;
  arguments.Set("id", id);
  Status started = client.plane.CheckWriting(std::span(&order.disk, 1), false, client.caller);
  if (started) {
    started = StartUnderIds(client, {id}, [&] {
      return client.plane.commands.Execute(order.verb, arguments.Format(), order.disk,
                                           client.caller);
    });
  }
  if (!started) {
    client.Remember(order.verb, order.disk, started.error());
    return started;
  }
  if (order.choice.auto_dismiss) client.started.Add(id);
  return {};
}

}  // namespace chainfs::qmp
