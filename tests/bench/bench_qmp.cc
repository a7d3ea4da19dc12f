// SPDX-License-Identifier: Apache-2.0
//
// The head of bench_qmp.h says what this is.
#include "tests/bench/bench_qmp.h"

#include <fmt/core.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "tests/bench/bench_process.h"

namespace chainfs::bench {

Qmp::Qmp(const std::string& socket_path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) Fail("socket path too long: " + socket_path);
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    Fail("cannot connect to " + socket_path);
  }
  NextLine();  // the greeting
  Execute(R"({"execute":"qmp_capabilities"})");
}

Qmp::~Qmp() { close(fd_); }

void Qmp::AddTarget(const BenchJob& job) {
  RunOrFail({"qemu-img", "create", "-q", "-f", "qcow2", job.target, std::to_string(job.size)});
  Execute(fmt::format(
      R"({{"execute":"blockdev-add","arguments":{{"driver":"qcow2","node-name":"target",)"
      R"("file":{{"driver":"file","filename":"{}"}}}}}})",
      job.target));
}

void Qmp::Run(const BenchJob& job, const std::string& node) {
  const bool copies = job.verb == "mirror" || job.verb == "backup";
  if (copies) AddTarget(job);
  const std::string more = copies ? R"(,"target":"target","sync":"full")"
                           : job.verb == "commit"
                               ? fmt::format(R"(,"top":"{}","base":"{}")", job.top, job.base)
                               : "";
  Execute(fmt::format(R"({{"execute":"{}-{}","arguments":{{"job-id":"job","device":"{}"{}}}}})",
                      copies ? "blockdev" : "block", job.verb, node, more));
  if (job.verb == "mirror") {
    WaitForEvent("\"BLOCK_JOB_READY\"");
    Execute(R"({"execute":"job-complete","arguments":{"id":"job"}})");
  }
  const std::string line = WaitForEvent("\"BLOCK_JOB_COMPLETED\"");
  if (line.find("\"error\"") != std::string::npos) Fail("the rival failed: " + line);
}

void Qmp::Execute(const std::string& command) {
  const std::string line = command + "\n";
  if (write(fd_, line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    Fail("cannot write to the rival's control socket");
  }
  for (;;) {
    std::string answer = NextLine();
    if (answer.starts_with("{\"return\"")) return;
    if (answer.starts_with("{\"error\""))
      Fail(fmt::format("the rival refused: {}: {}", command, answer));
    events_.push_back(std::move(answer));
  }
}

std::string Qmp::WaitForEvent(std::string_view name) {
  for (;;) {
    std::string line;
    if (events_.empty()) {
      line = NextLine();
    } else {
      line = std::move(events_.front());
      events_.pop_front();
    }
    if (line.find(name) != std::string::npos) return line;
  }
}

std::string Qmp::NextLine() {
  for (;;) {
    const size_t end = pending_.find('\n');
    if (end != std::string::npos) {
      std::string line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return line;
    }
    char buffer[4096];
    const ssize_t got = read(fd_, buffer, sizeof(buffer));
    if (got <= 0) Fail("the rival closed its control socket");
    pending_.append(buffer, static_cast<size_t>(got));
  }
}

}  // namespace chainfs::bench
