// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/server.h"

#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <system_error>
#include <utility>

#include "ctl/qmp/peer.h"

namespace chainfs::qmp {
namespace {

// While no descriptor is free, those who wait are left waiting.
constexpr int kPauseMs = 200;

void Say(int socket, const std::string& text) {
  (void)::send(socket, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

}  // namespace

Result<std::unique_ptr<Server>> Server::Listen(const std::string& path, std::optional<gid_t> group,
                                               Catalog& catalog, control::ControlPlane& plane) {
  CHAINFS_ASSIGN(ListeningSocket socket, ListeningSocket::Open(path, group));
  auto bell = std::make_shared<Bell>();
  CHAINFS_ASSIGN(Bell::Ear ear, Bell::Ear::Open(*bell));
  return std::unique_ptr<Server>(
      new Server(std::move(socket), std::move(bell), std::move(ear), catalog, plane));
}

Server::Server(ListeningSocket socket, std::shared_ptr<Bell> bell, Bell::Ear ear, Catalog& catalog,
               control::ControlPlane& plane)
    : socket_(std::move(socket)),
      bell_(std::move(bell)),
      ear_(std::move(ear)),
      catalog_(catalog),
      plane_(plane),
      news_(plane.events.AddNewsCallback([rung = bell_] { rung->Ring(); })),
      nodes_(catalog),
      started_(plane.jobs, plane.events) {}

Server::~Server() {
  Stop();
  plane_.events.RemoveNewsCallback(news_);
}

void Server::Start() {
  thread_ = std::thread([this] { Run(); });
  spdlog::info("QMP clients are served on {}", socket_.path());
}

void Server::Stop() {
  if (!thread_.joinable()) return;
  ending_ = true;
  ear_.Ring();
  thread_.join();
}

void Server::Run() {
  nodes_.LookAgain();
  int pause = -1;
  while (!ending_) {
    pollfd waiting[2] = {{.fd = ear_.fd(), .events = POLLIN, .revents = 0},
                         {.fd = socket_.fd(), .events = POLLIN, .revents = 0}};
    ::poll(waiting, pause < 0 ? 2 : 1, pause);
    pause = -1;
    if ((waiting[0].revents & POLLIN) != 0) ear_.Heard();
    connections_.remove_if([](const Connection& each) { return each.ended(); });
    try {
      started_.Sweep();
      if ((waiting[1].revents & POLLIN) != 0) Accept();
    } catch (const std::exception& error) {
      spdlog::error("QMP: {}", error.what());
      pause = kPauseMs;
    }
  }
  for (Connection& each : connections_) each.End();
  connections_.clear();
}

void Server::Accept() {
  UniqueFd client(::accept4(socket_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client.valid()) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
    throw std::system_error(errno, std::generic_category(), "accept");
  }
  if (const Status admitted = Admit(client); !admitted) {
    spdlog::warn("a QMP client was refused: {}", admitted.error().message);
    Say(client.get(), Conversation::AnswerToGarbage(admitted.error().message));
  }
}

Status Server::Admit(UniqueFd& client) {
  CHAINFS_ASSIGN(control::Caller caller, PeerOf(client.get()));
  CHAINFS_TRY(plane_.commands.CheckCaller("flush", caller));
  if (connections_.size() >= kMaxClients) {
    return Fail(ErrorKind::kBusy,
                fmt::format("{} QMP clients are connected already; close one first", kMaxClients));
  }
  CHAINFS_ASSIGN(Bell::Ear news, Bell::Ear::Open(*bell_));
  connections_.emplace_back(std::move(client),
                            Client{.catalog = catalog_,
                                   .plane = plane_,
                                   .nodes = nodes_,
                                   .started = started_,
                                   .caller = std::move(caller)},
                            std::move(news), ear_);
  return {};
}

}  // namespace chainfs::qmp
