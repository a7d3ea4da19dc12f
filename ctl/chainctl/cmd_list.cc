// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_list.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "blocklayer/base/paths.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/holders.h"
#include "ctl/chainctl/job_report.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/notes.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;
using Align = Table::Align;

struct Listing {
  std::string mount;
  json chains;
  json jobs = json::array();
};

Result<Listing> ReadListing(const std::string& mount) {
  Listing listing{.mount = mount, .chains = {}};
  CHAINFS_ASSIGN(listing.chains, ReadJsonFile(mount, "chains.json"));
  CHAINFS_ASSIGN(const json jobs, ReadJsonFile(mount, "jobs.json"));
  listing.jobs = ArrayOf(jobs, "jobs");
  return listing;
}

// "stream 41%", "2 jobs", or nothing.
std::string JobsOf(const json& jobs, const std::string& disk) {
  std::vector<JobReport> active;
  for (const json& entry : jobs) {
    JobReport job = JobFromJson(entry);
    if (job.disk == disk && !job.concluded()) active.push_back(std::move(job));
  }
  if (active.empty()) return "";
  if (active.size() > 1) return fmt::format("{} jobs", active.size());
  const std::string state = active[0].status == "running" ? "" : " " + active[0].status;
  return fmt::format("{} {:.0f}%{}", active[0].type, active[0].percent(), state);
}

// The path once: most errors begin with it. The daemon cannot say whose lock it met; /proc can.
std::string BrokenText(const json& broken) {
  const std::string path = TextOf(broken, "path");
  std::string error = TextOf(broken, "error");
  if (!error.starts_with(path)) error = fmt::format("{}: {}", path, error);
  constexpr std::string_view kLocked = "locked by another process;";
  if (const size_t at = error.find(kLocked); at != std::string::npos) {
    const std::string file = error.substr(0, error.find(": locked by"));
    if (const std::vector<Holder> openers = OpenersOf(file); !openers.empty()) {
      error.insert(at + kLocked.size() - 1,
                   fmt::format(" ({} {})", openers.front().pid, openers.front().command));
    }
  }
  return SafeText(fmt::format("{}: {}", TextOf(broken, "name"), error));
}

std::string ListingText(const Listing& listing, const Painter& painter) {
  Table table;
  table.AddColumn("DISK")
      .AddColumn("SIZE", Align::kRight)
      .AddColumn("USED", Align::kRight)
      .AddColumn("MODE")
      .AddColumn("DEPTH", Align::kRight)
      .AddColumn("JOBS")
      .AddColumn("ACTIVE LAYER");
  for (const json& chain : ArrayOf(listing.chains, "chains")) {
    const bool read_only = FlagOf(chain, "read-only");
    table.AddRow({SafeText(TextOf(chain, "file")), FormatSize(NumberOf(chain, "virtual-size")),
                  FormatSize(NumberOf(chain, "actual-size")),
                  Table::Cell(read_only ? "ro" : "rw", read_only ? Colour::kDim : Colour::kNone),
                  std::to_string(NumberOf(chain, "depth")),
                  Table::Cell(JobsOf(listing.jobs, TextOf(chain, "name")), Colour::kCyan),
                  SafeText(BaseName(TextOf(chain, "active")))});
  }
  std::string text;
  if (!table.empty()) text += table.Render(painter);
  for (const json& broken : ArrayOf(listing.chains, "broken")) {
    text += fmt::format("{} {}\n", painter.Paint(Colour::kRed, "broken:"), BrokenText(broken));
  }
  for (const std::string& note : NotesOf(listing.chains)) text += "note: " + note + "\n";
  return text.empty() ? "no images\n" : text;
}

Result<ExitCode> List(const std::optional<std::string>& place, const CommonOptions& common) {
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, MountsOrAll(place));
  if (mounts.empty() && !common.json && !common.quiet) {
    Note("list: nothing is mounted; mount something with `chainfs SOURCE MOUNTPOINT`");
  }
  const Painter painter = Painter::For(stdout);
  json all = json::array();
  std::string text;
  std::optional<Error> failure;
  for (const std::string& mount : mounts) {
    Result<Listing> listing = ReadListing(mount);
    if (!listing) {
      // One dead daemon must not hide the others; another user's mount is no fault at all.
      if (place) return std::unexpected(listing.error());
      if (IsOutOfSight(listing.error())) {
        if (!common.quiet)
          Note(fmt::format("list: {}: passed over, you may not look into it", mount));
        continue;
      }
      if (mounts.size() == 1) return std::unexpected(listing.error());
      Note("list: " + listing.error().message);
      if (!failure) failure = listing.error();
      continue;
    }
    if (common.json) {
      all.push_back({{"mount", mount},
                     {"chains", ArrayOf(listing->chains, "chains")},
                     {"broken", ArrayOf(listing->chains, "broken")},
                     {"notes", ArrayOf(listing->chains, "notes")},
                     {"jobs", listing->jobs}});
      continue;
    }
    if (mounts.size() > 1) {
      text += fmt::format("{}{}\n", text.empty() ? "" : "\n",
                          painter.Paint(Colour::kBold, SafeText(mount) + ":"));
    }
    text += ListingText(*listing, painter);
  }
  Print(common.json ? OneLine({{"mounts", all}}) + "\n" : text);
  return failure ? ExitCodeFor(*failure) : ExitCode::kDone;
}

}  // namespace

VerbRow ListVerb() {
  return {.name = "list",
          .help = "List the disks of a mount (default: of all mounts)",
          .examples =
              "chainctl list\n"
              "chainctl list /mnt/images\n"
              "chainctl list --json | jq -r '.mounts[].chains[].file'\n",
          .sends = false,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto mount = std::make_shared<std::optional<std::string>>();
            verb.add_option("MNT", *mount, "Mount point");
            return [mount](const CommonOptions& common) { return List(*mount, common); };
          }};
}

}  // namespace chainfs::chainctl
