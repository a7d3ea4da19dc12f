// SPDX-License-Identifier: Apache-2.0
#include "fusefs/keeper_message.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace chainfs::fusefs {
namespace {

constexpr size_t kMostFiles = 4;
constexpr size_t kMostBytes = 64 << 10;

// Room for the files of a message, as recvmsg wants it.
union FileSpace {
  cmsghdr header;
  std::array<char, CMSG_SPACE(kMostFiles * sizeof(int))> bytes;
};

std::vector<std::string> SplitAtNul(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t end = text.find('\0');
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return words;
}

std::vector<UniqueFd> FilesIn(msghdr& message) {
  std::vector<UniqueFd> files;
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      files.emplace_back(fd);
    }
  }
  return files;
}

}  // namespace

bool ConnectPair(UniqueFd& one, UniqueFd& other) {
  int ends[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return false;
  one = UniqueFd(ends[0]);
  other = UniqueFd(ends[1]);
  return true;
}

bool SendMessage(int socket, const std::vector<std::string>& words, std::span<const int> files) {
  std::string text;
  for (const std::string& word : words) text.append(word).push_back('\0');
  if (text.size() > kMostBytes || files.size() > kMostFiles) return false;
  iovec bytes = {.iov_base = text.data(), .iov_len = text.size()};
  msghdr message = {};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  FileSpace space = {};
  if (!files.empty()) {
    message.msg_control = &space;
    message.msg_controllen = CMSG_SPACE(files.size_bytes());
    cmsghdr* const part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(files.size_bytes());
    std::memcpy(CMSG_DATA(part), files.data(), files.size_bytes());
  }
  ssize_t sent = 0;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(text.size());
}

std::optional<KeeperMessage> ReceiveMessage(int socket) {
  std::string text(kMostBytes, '\0');
  iovec bytes = {.iov_base = text.data(), .iov_len = text.size()};
  FileSpace space = {};
  msghdr message = {};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = &space;
  message.msg_controllen = sizeof space;
  ssize_t got = 0;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return std::nullopt;
  KeeperMessage received = {.words = {}, .files = FilesIn(message)};
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return std::nullopt;
  text.resize(static_cast<size_t>(got));
  received.words = SplitAtNul(text);
  return received;
}

}  // namespace chainfs::fusefs
