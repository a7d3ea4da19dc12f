// SPDX-License-Identifier: Apache-2.0
//
// Conversation: what is said on one connection: the greeting, the negotiation that comes before
// everything else, and an answer to every message. It knows no socket.
//
// Threads: none; belongs to one connection.
#pragma once

#include <string>
#include <string_view>

#include "ctl/qmp/client.h"

namespace chainfs::qmp {

class Conversation {
 public:
  explicit Conversation(Client client) : client_(std::move(client)) {}

  std::string Hello() const;
  // Carries out a message of MessageSplitter. The line to send.
  std::string AnswerTo(std::string_view message);
  // To bytes that are no message.
  static std::string AnswerToGarbage(std::string_view error);
  // Events are for those who have negotiated.
  bool negotiated() const { return negotiated_; }

 private:
  Answer Run(const nlohmann::json& request);
  Answer Negotiate(const nlohmann::json& arguments);

  Client client_;
  bool negotiated_ = false;
};

}  // namespace chainfs::qmp
