// SPDX-License-Identifier: Apache-2.0
#include "ctl/qmp/connection.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <cerrno>
#include <exception>
#include <optional>
#include <utility>

#include "ctl/qmp/event_translation.h"

namespace chainfs::qmp {
namespace {

constexpr size_t kReceive = size_t{64} << 10;
constexpr size_t kEventBlock = size_t{64} << 10;

}  // namespace

Connection::Connection(UniqueFd socket, Client client, Bell::Ear news, const Bell::Ear& server)
    : socket_(std::move(socket)),
      news_(std::move(news)),
      server_(server),
      log_(client.plane.events),
      conversation_(std::move(client)),
      thread_([this] { Run(); }) {}

Connection::~Connection() { thread_.join(); }

void Connection::End() {
  ending_ = true;
  news_.Ring();
}

void Connection::Run() {
  try {
    Serve();
  } catch (const std::exception& error) {
    spdlog::error("a QMP connection ends: {}", error.what());
  }
  // The client shall not wait for us until the server has come by.
  ::shutdown(socket_.get(), SHUT_RDWR);
  ended_ = true;
  server_.Ring();
}

void Connection::Serve() {
  unsent_ = conversation_.Hello();
  while (!ending_) {
    AnswerReceived();
    TakeEvents();
    if (at_end_ && all_answered_ && unsent_.empty()) return;
    if (!WaitAndMove()) return;
  }
  TakeEvents();
  Send();
}

bool Connection::WaitAndMove() {
  const bool reads = all_answered_ && !at_end_ && !Full();
  pollfd waiting[2] = {{.fd = socket_.get(), .events = 0, .revents = 0},
                       {.fd = news_.fd(), .events = POLLIN, .revents = 0}};
  if (reads) waiting[0].events |= POLLIN;
  if (!unsent_.empty()) waiting[0].events |= POLLOUT;
  if (::poll(waiting, 2, -1) < 0) return errno == EINTR;
  if ((waiting[1].revents & POLLIN) != 0) news_.Heard();
  if ((waiting[0].revents & POLLOUT) != 0 && !Send()) return false;
  if ((waiting[0].revents & POLLIN) != 0) return Receive();
  return (waiting[0].revents & (POLLERR | POLLHUP | POLLNVAL)) == 0;
}

bool Connection::Receive() {
  received_.resize(kReceive);
  const ssize_t got = ::recv(socket_.get(), received_.data(), received_.size(), 0);
  received_.resize(got > 0 ? static_cast<size_t>(got) : 0);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  at_end_ = got == 0;
  splitter_.Feed(received_);
  all_answered_ = false;
  return true;
}

bool Connection::Send() {
  const ssize_t sent =
      ::send(socket_.get(), unsent_.data(), unsent_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) return errno == EAGAIN || errno == EINTR;
  unsent_.erase(0, static_cast<size_t>(sent));
  return true;
}

void Connection::AnswerReceived() {
  while (!all_answered_ && !Full() && !ending_) {
    const std::optional<MessageSplitter::Item> item = splitter_.Next();
    if (!item) {
      all_answered_ = true;
      return;
    }
    if (!item->error.empty()) {
      unsent_ += Conversation::AnswerToGarbage(item->error);
      continue;
    }
    const bool was_told = conversation_.negotiated();
    const std::string answer = conversation_.AnswerTo(item->message);
    if (!was_told) cursor_ = log_.NextSequence();
    TakeEvents();
    unsent_ += answer;
  }
}

void Connection::TakeEvents() {
  while (conversation_.negotiated() && !Full() && log_.HasNews(cursor_)) {
    bool too_small = false;
    const std::string block = log_.Read(&cursor_, kEventBlock, &too_small);
    if (too_small) {
      ++cursor_;  // larger than any event of ours
      continue;
    }
    for (size_t start = 0; start < block.size();) {
      const size_t end = block.find('\n', start);
      const std::string_view line = std::string_view(block).substr(start, end - start);
      if (const std::optional<std::string> event = TranslateEvent(line)) unsent_ += *event;
      start = end == std::string::npos ? block.size() : end + 1;
    }
  }
}

}  // namespace chainfs::qmp
