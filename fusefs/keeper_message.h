// SPDX-License-Identifier: Apache-2.0
//
// What the daemon and its keeper (keeper.h) tell each other: words and open files, one message for
// each packet of a socket.
//
// Threads: no state.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "blocklayer/base/unique_fd.h"

namespace chainfs::fusefs {

struct KeeperMessage {
  std::vector<std::string> words;  // without NUL bytes
  std::vector<UniqueFd> files;
};

// The two ends of such a connection, both closed on exec. False without a free descriptor.
bool ConnectPair(UniqueFd& one, UniqueFd& other);

// At most 4 files, and 64 KiB of words. False when the other end is gone, or for more.
bool SendMessage(int socket, const std::vector<std::string>& words, std::span<const int> files);
// Waits. Nothing at the end of the connection, and for a message that is too long.
std::optional<KeeperMessage> ReceiveMessage(int socket);

}  // namespace chainfs::fusefs
