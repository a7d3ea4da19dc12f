// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_events.h"

#include <fmt/core.h>
#include <poll.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/events_reader.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

struct EventsOptions {
  std::optional<std::string> mount;
  bool follow = true;
};

std::string Tagged(const std::string& line, const std::string& mount) {
  nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
  if (!event.is_object()) return line;
  event["mount"] = mount;
  return OneLine(event);
}

// Prints what there is; whether there was anything.
Result<bool> Drain(EventsReader& reader, bool tagged) {
  bool any = false;
  while (!reader.at_end()) {
    CHAINFS_ASSIGN(const std::vector<std::string> lines, reader.Read());
    if (lines.empty()) break;
    any = true;
    std::string text;
    for (const std::string& line : lines) {
      text += (tagged ? Tagged(line, reader.mount()) : line) + "\n";
    }
    Print(text);
  }
  return any;
}

Result<ExitCode> PrintEvents(const EventsOptions& options) {
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, MountsOrAll(options.mount));
  if (mounts.empty()) {
    return FailMounted(ENODATA,
                       "nothing is mounted; mount something with `chainfs SOURCE MOUNTPOINT`");
  }
  const bool tagged = mounts.size() > 1;
  std::vector<EventsReader> readers;
  for (const std::string& mount : mounts) {
    Result<EventsReader> reader = EventsReader::Open(mount);
    if (reader) {
      readers.push_back(std::move(*reader));
    } else if (options.mount || mounts.size() == 1) {
      return std::unexpected(reader.error());
    } else if (!IsOutOfSight(reader.error())) {
      Note("events: " + reader.error().message);
    }
  }
  bool any_died = false;
  while (!readers.empty()) {
    bool any = false;
    for (EventsReader& reader : readers) {
      CHAINFS_ASSIGN(const bool some, Drain(reader, tagged));
      any = any || some;
    }
    for (const EventsReader& reader : readers) {
      if (!reader.died()) continue;
      const auto failure = FailDaemonGone(ENOTCONN, reader.mount());
      if (readers.size() == 1 && !any_died) return failure;
      any_died = true;
      Note("events: " + failure.error().message);
    }
    // A reader that stays open keeps the mount busy: closed at its end of file.
    std::erase_if(readers, [](const EventsReader& reader) { return reader.at_end(); });
    if (!options.follow) break;
    // "Readable" without news would otherwise be a busy loop.
    if (!any) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::vector<pollfd> wanted;
    wanted.reserve(readers.size());
    for (const EventsReader& reader : readers) {
      wanted.push_back({.fd = reader.fd(), .events = POLLIN, .revents = 0});
    }
    if (!wanted.empty()) poll(wanted.data(), wanted.size(), -1);
  }
  return any_died ? ExitCode::kNotChainfs : ExitCode::kDone;
}

}  // namespace

VerbRow EventsVerb() {
  return {.name = "events",
          .help = "Print past events as JSON lines, then follow",
          .examples =
              "chainctl events /mnt/images\n"
              "chainctl events --no-follow | jq -c 'select(.event == \"BLOCK_JOB_ERROR\")'\n",
          .sends = false,
          .remarks = false,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<EventsOptions>();
            verb.add_option("MNT", options->mount, "Mount point (default: all)");
            verb.add_flag("--follow,!--no-follow", options->follow,
                          "Go on with new events (default), or not");
            return [options](const CommonOptions&) { return PrintEvents(*options); };
          }};
}

}  // namespace chainfs::chainctl
