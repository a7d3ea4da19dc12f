// SPDX-License-Identifier: Apache-2.0
#include "tests/support/qmp_client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <thread>
#include <utility>

namespace chainfs {
namespace {

bool IsAbout(const nlohmann::json& event, std::string_view job) {
  const nlohmann::json& data = event["data"];
  return job.empty() || data.value("id", "") == job || data.value("device", "") == job;
}

}  // namespace

QmpClient::QmpClient(const std::string& path)
    : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (std::chrono::steady_clock::now() > deadline) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  greeting_ = NextLine();
}

nlohmann::json QmpClient::Ask(const std::string& command, const Json& arguments) {
  Json request = {{"execute", command}};
  if (!arguments.empty()) request["arguments"] = arguments;
  if (!Send(request.dump() + "\n")) return nullptr;
  for (;;) {
    Json line = NextLine();
    if (!line.contains("event")) return line;
    events_.push_back(std::move(line));
  }
}

nlohmann::json QmpClient::Return(const std::string& command, const Json& arguments) {
  const Json answer = Ask(command, arguments);
  return answer.value("return", Json());
}

std::string QmpClient::ErrorClass(const std::string& command, const Json& arguments) {
  const Json answer = Ask(command, arguments);
  return answer.contains("error") ? answer["error"].value("class", "") : "none: " + answer.dump();
}

std::string QmpClient::Error(const std::string& command, const Json& arguments) {
  const Json answer = Ask(command, arguments);
  return answer.contains("error") ? answer["error"].value("desc", "") : "none: " + answer.dump();
}

nlohmann::json QmpClient::WaitForEvent(std::string_view name, std::string_view job) {
  for (;;) {
    Json event;
    if (events_.empty()) {
      event = NextLine();
    } else {
      event = std::move(events_.front());
      events_.pop_front();
    }
    if (event.is_null()) return nullptr;
    const bool called = name.empty() || event.value("event", "") == name;
    if (called && IsAbout(event, job)) return event;
  }
}

bool QmpClient::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

nlohmann::json QmpClient::NextLine(int patience_ms) {
  for (;;) {
    const size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      const std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return Json::parse(line, nullptr, false);
    }
    pollfd waiting = {.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, patience_ms) <= 0) return nullptr;
    char buffer[65536];
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got <= 0) return nullptr;
    pending_.append(buffer, static_cast<size_t>(got));
  }
}

void QmpClient::Finish() { ::shutdown(fd_.get(), SHUT_WR); }

}  // namespace chainfs
