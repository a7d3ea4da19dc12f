// SPDX-License-Identifier: Apache-2.0
//
// The interface of a mount as the tests use it: commands, status, jobs, events.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/mount/daemon.h"
#include "tests/mount/images.h"

namespace chainfs {

using Json = nlohmann::json;

// setxattr user.chainfs.VERB; 0 or the errno.
inline int Order(const std::string& path, const std::string& verb, const std::string& value = "") {
  return SetAttribute(path, "user.chainfs." + verb, value);
}

// getxattr user.chainfs.NAME; null when there is none.
inline Json Status(const std::string& path, const std::string& name) {
  const std::string text = GetAttribute(path, "user.chainfs." + name);
  if (text.starts_with('<')) return nullptr;
  return Json::parse(text, nullptr, false);
}

// The sentence of the last refused command.
inline std::string LastError(const std::string& path) {
  const Json error = Status(path, "error");
  return error.is_object() ? error.value("message", "") : "";
}

// File names, active layer first.
inline std::vector<std::string> LayersOf(const std::string& disk) {
  std::vector<std::string> names;
  for (const Json& layer : Status(disk, "chain")) {
    const std::string path = layer.value("filename", "");
    names.push_back(path.substr(path.rfind('/') + 1));
  }
  return names;
}

// The job once it has concluded.
inline Json WaitForJob(const std::string& disk, const std::string& id = "") {
  const std::string name = id.empty() ? "job" : "job." + id;
  Json job;
  const bool concluded = Eventually([&] {
    job = Status(disk, name);
    return job.is_object() && job.value("status", "") == "concluded";
  });
  EXPECT_TRUE(concluded) << "the job has not ended: " << job.dump();
  return job;
}

// Starts a stream and waits for its good end.
inline void StreamToEnd(const std::string& disk, const std::string& value = "") {
  ASSERT_EQ(Order(disk, "stream", value), 0) << LastError(disk);
  const Json job = WaitForJob(disk);
  ASSERT_TRUE(job.is_object());
  EXPECT_FALSE(job.contains("error")) << job.dump();
  EXPECT_EQ(job["current-progress"], job["total-progress"]) << job.dump();
}

// A reader of .chainfs/events.
class Events {
 public:
  explicit Events(const Daemon& daemon) : file_(daemon / ".chainfs/events", O_RDONLY | O_NONBLOCK) {
    EXPECT_TRUE(file_.valid()) << std::strerror(errno);
  }

  // Reads on until an event is called `name` and, unless empty, has this id; null if none comes.
  Json WaitFor(const std::string& name, const std::string& id = "") {
    for (size_t next = 0;; ++next) {
      while (next >= seen_.size()) {
        if (!ReadMore()) return nullptr;
      }
      const Json& event = seen_[next];
      if (event.value("event", "") != name) continue;
      if (id.empty() || event.value("id", "") == id) return event;
    }
  }
  // All so far.
  const std::vector<Json>& seen() const { return seen_; }
  int fd() const { return file_.get(); }

 private:
  bool ReadMore() {
    constexpr int kPatienceMs = 120'000;
    pollfd waiting = {.fd = file_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, kPatienceMs) <= 0) return false;
    std::string block(1 << 20, '\0');
    const ssize_t got = ::read(file_.get(), block.data(), block.size());
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) return false;
    block.resize(static_cast<size_t>(got));
    for (size_t start = 0; start < block.size();) {
      const size_t end = block.find('\n', start);
      EXPECT_NE(end, std::string::npos) << "half a line: " << block.substr(start);
      if (end == std::string::npos) return false;
      seen_.push_back(Json::parse(block.substr(start, end - start)));
      start = end + 1;
    }
    return true;
  }

  const OpenedFile file_;
  std::vector<Json> seen_;
};

// Reads a virtual file to its end.
inline Json ReadJson(const std::string& path) {
  return Json::parse(ReadTextFile(path), nullptr, false);
}

}  // namespace chainfs
