// SPDX-License-Identifier: Apache-2.0
//
// Connection: one client and the thread that serves it. Commands are carried out one after the
// other; events come as they happen, those of a command before its answer.
//
// A client that does not read is not served: while much waits to be sent, neither its commands nor
// events are read, so what is held for it is bounded, and it learns by LOST what it has missed.
//
// Invariants: QMP-1 to QMP-3 (README.md).
//
// Threads: construction and destruction belong to the server's thread; End any.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>

#include "blocklayer/base/unique_fd.h"
#include "ctl/qmp/bell.h"
#include "ctl/qmp/conversation.h"
#include "ctl/qmp/message_splitter.h"

namespace chainfs::qmp {

class Connection {
 public:
  // What waits to be sent when nothing more is read; an answer may exceed it once.
  static constexpr size_t kMaxPending = size_t{256} << 10;

  // `socket` non-blocking; rings `server` when it has ended. `news` tells of events.
  Connection(UniqueFd socket, Client client, Bell::Ear news, const Bell::Ear& server);
  // After End; waits for a command that is being carried out.
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // No further command; what is left of the events is sent, if the client takes it at once.
  void End();
  bool ended() const { return ended_; }

 private:
  void Run();
  void Serve();
  // False: there is nobody to serve any more.
  bool WaitAndMove();
  bool Receive();
  bool Send();
  void AnswerReceived();
  // All events so far, as far as there is room.
  void TakeEvents();
  bool Full() const { return unsent_.size() >= kMaxPending; }

  const UniqueFd socket_;
  const Bell::Ear news_;
  const Bell::Ear& server_;
  jobs::EventLog& log_;
  uint64_t cursor_ = 0;  // the first event that it has not been sent
  Conversation conversation_;
  MessageSplitter splitter_;
  std::string received_;  // what the splitter works on
  bool all_answered_ = true;
  bool at_end_ = false;  // the client sends nothing more
  std::string unsent_;
  std::atomic<bool> ending_ = false;
  std::atomic<bool> ended_ = false;
  std::thread thread_;
};

}  // namespace chainfs::qmp
