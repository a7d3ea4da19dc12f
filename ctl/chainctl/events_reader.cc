// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/events_reader.h"

#include <fcntl.h>
#include <fmt/core.h>

#include <cerrno>
#include <cstring>

#include "ctl/chainctl/exit_code.h"

namespace chainfs::chainctl {

Result<EventsReader> EventsReader::Open(const std::string& mount) {
  const std::string path = mount + "/.chainfs/events";
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (!fd.valid()) {
    const int saved_errno = errno;
    return FailMounted(saved_errno, fmt::format("{}: {}", path, std::strerror(saved_errno)));
  }
  return EventsReader(std::move(fd), mount);
}

Result<std::vector<std::string>> EventsReader::Read() {
  std::string buffer(size_t{256} * 1024, '\0');
  const ssize_t got = read(fd_.get(), buffer.data(), buffer.size());
  if (got < 0) {
    const int saved_errno = errno;
    if (saved_errno == EAGAIN || saved_errno == EINTR) return std::vector<std::string>();
    if (saved_errno == ENOTCONN || saved_errno == ECONNABORTED || saved_errno == ENODEV) {
      at_end_ = true;
      died_ = !shut_down_;
      return std::vector<std::string>();
    }
    return FailMounted(saved_errno,
                       fmt::format("{}/.chainfs/events: {}", mount_, std::strerror(saved_errno)));
  }
  if (got == 0) at_end_ = true;
  partial_.append(buffer, 0, static_cast<size_t>(got));
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end = 0; (end = partial_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    lines.push_back(partial_.substr(begin, end - begin));
    if (lines.back().find(R"("event":"SHUTDOWN")") != std::string::npos) shut_down_ = true;
  }
  partial_.erase(0, begin);
  return lines;
}

}  // namespace chainfs::chainctl
