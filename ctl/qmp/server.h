// SPDX-License-Identifier: Apache-2.0
//
// Server: the QMP socket of a mount. Whoever may give commands may connect; others are told so and
// sent away. Each client has a thread of its own, so none waits for another.
//
// Threads: one for all methods. The server's own accepts clients, and has jobs dismissed that were
// to go by themselves.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "ctl/qmp/bell.h"
#include "ctl/qmp/connection.h"
#include "ctl/qmp/listening_socket.h"
#include "ctl/qmp/node_table.h"
#include "ctl/qmp/started_jobs.h"

namespace chainfs::qmp {

class Server {
 public:
  static constexpr size_t kMaxClients = 16;

  // Listens; clients wait until Start. All must outlive this. `group` may connect as well.
  static Result<std::unique_ptr<Server>> Listen(const std::string& path, std::optional<gid_t> group,
                                                Catalog& catalog, control::ControlPlane& plane);
  ~Server();

  void Start();
  // Clients get what is left of the events, then end of file. Waits for commands under way.
  void Stop();

 private:
  Server(ListeningSocket socket, std::shared_ptr<Bell> bell, Bell::Ear ear, Catalog& catalog,
         control::ControlPlane& plane);
  void Run();
  void Accept();
  // Why not, as a sentence, when it may not stay.
  Status Admit(UniqueFd& client);

  const ListeningSocket socket_;
  // Shared with the event log's callback, which may be under way when it is removed.
  const std::shared_ptr<Bell> bell_;
  const Bell::Ear ear_;
  Catalog& catalog_;
  control::ControlPlane& plane_;
  const uint64_t news_;
  NodeTable nodes_;
  StartedJobs started_;
  std::list<Connection> connections_;  // of the server's thread
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

}  // namespace chainfs::qmp
