// SPDX-License-Identifier: Apache-2.0
//
// list, info, chain: what is mounted, and what it is made of.
#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "blocklayer/base/paths.h"
#include "ctl/chainctl/client.h"
#include "ctl/chainctl/commands.h"
#include "ctl/chainctl/holders.h"
#include "ctl/chainctl/job_report.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/layers.h"
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

// "base: read-only: mid.qcow2 and vm2.qcow2 are built on it", or their number.
std::string BuiltOnText(const std::vector<std::string>& overlays) {
  constexpr size_t kMostNamed = 3;
  if (overlays.size() > kMostNamed)
    return fmt::format("{} images are built on it", overlays.size());
  std::string names;
  for (size_t i = 0; i < overlays.size(); ++i) {
    if (i > 0) names += i + 1 == overlays.size() ? " and " : ", ";
    names += BaseName(overlays[i]);
  }
  return fmt::format("{} {} built on it", names, overlays.size() == 1 ? "is" : "are");
}

// The daemon's notes; where it names one user of a read-only base, all direct ones instead.
std::vector<std::string> NotesOf(const json& value) {
  std::map<std::string, std::string> built_on;  // disk -> the better note
  const std::vector<LayerFacts> layers = LayersFromChains(value);
  for (const json& chain : ArrayOf(value, "chains")) {
    const auto layer = std::ranges::find(layers, TextOf(chain, "active"), &LayerFacts::path);
    if (layer == layers.end() || layer->built_on_by.empty()) continue;
    built_on[TextOf(chain, "name")] = BuiltOnText(layer->built_on_by);
  }
  std::vector<std::string> notes;
  for (const json& note : ArrayOf(value, "notes")) {
    if (!note.is_string()) continue;
    auto text = note.get<std::string>();
    const size_t name_end = text.find(": read-only: ");
    if (name_end != std::string::npos && text.ends_with(" is built on it")) {
      const auto better = built_on.find(text.substr(0, name_end));
      if (better != built_on.end()) text = better->first + ": read-only: " + better->second;
    }
    notes.push_back(SafeText(text));
  }
  return notes;
}

// From the attribute, or from the notes of the mount where an older daemon has no such key.
std::string ReadOnlyReasonOf(const DiskPath& disk, const json& info) {
  std::string reason = TextOf(info, "read-only-reason");
  if (!reason.empty() || !FlagOf(info, "read-only")) return reason;
  const Result<json> chains = ReadJsonFile(disk.mount, "chains.json");
  if (!chains) return "";
  const std::string begin = TextOf(info, "name") + ": read-only: ";
  for (const std::string& note : NotesOf(*chains)) {
    if (note.starts_with(begin)) return note.substr(begin.size());
  }
  return "";
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

}  // namespace

Result<ExitCode> RunList(const ListOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const std::vector<std::string> mounts, MountsOrAll(options.mount));
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
      if (options.mount) return std::unexpected(listing.error());
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

Result<ExitCode> RunInfo(const std::string& disk, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath path, FindDisk(disk));
  CHAINFS_ASSIGN(const json info, ReadJsonAttribute(path.path, "info"));
  if (common.json) {
    Print(OneLine(info) + "\n");
    return ExitCode::kDone;
  }
  const Painter painter = Painter::For(stdout);
  const auto line = [&](std::string_view label, const std::string& value) {
    return fmt::format("{}{}\n", painter.Paint(Colour::kBold, fmt::format("{:<14}", label)),
                       SafeText(value));
  };
  const uint64_t size = NumberOf(info, "virtual-size");
  std::string text = line("disk", TextOf(info, "name"));
  text += line("mount", path.mount);
  text += line("virtual size", fmt::format("{} ({} bytes)", FormatSize(size), size));
  text += line("used", FormatSize(NumberOf(info, "actual-size")));
  const std::string reason = ReadOnlyReasonOf(path, info);
  text += line("writable", !FlagOf(info, "read-only") ? "yes"
                           : reason.empty()           ? "no"
                                                      : "no: " + reason);
  text += line("layers", std::to_string(NumberOf(info, "depth")));
  text += line("active layer", TextOf(info, "active"));
  text += line("format", TextOf(info, "format"));
  text += line("cluster size", FormatSize(NumberOf(info, "cluster-size")));
  text += line("generation", std::to_string(NumberOf(info, "generation")));
  if (const Result<std::vector<JobReport>> jobs = ReadJobs(path)) {
    for (const JobReport& job : *jobs) {
      if (job.concluded()) continue;
      text += line("job", fmt::format("{} {} {:.1f}%", job.id, job.status, job.percent()));
    }
  }
  Print(text);
  return ExitCode::kDone;
}

Result<ExitCode> RunChain(const std::string& disk, const CommonOptions& common) {
  CHAINFS_ASSIGN(const DiskPath path, FindDisk(disk));
  CHAINFS_ASSIGN(const json chain, ReadJsonAttribute(path.path, "chain"));
  if (common.json) {
    Print(OneLine(chain) + "\n");
    return ExitCode::kDone;
  }
  Table table;
  table.AddColumn("", Align::kRight)
      .AddColumn("FORMAT")
      .AddColumn("SIZE", Align::kRight)
      .AddColumn("USED", Align::kRight)
      .AddColumn("LAYER");
  size_t index = 0;
  bool truncated = false;
  for (const json& layer : chain) {
    if (FlagOf(layer, "truncated")) truncated = true;
    if (TextOf(layer, "filename").empty()) continue;
    table.AddRow({std::to_string(index++), SafeText(TextOf(layer, "format")),
                  FormatSize(NumberOf(layer, "virtual-size")),
                  FormatSize(NumberOf(layer, "actual-size")), SafeText(TextOf(layer, "filename"))});
  }
  std::string text = table.Render(Painter::For(stdout));
  if (truncated) text += "... and more; `chainctl list --json` has them all\n";
  Print(text);
  return ExitCode::kDone;
}

}  // namespace chainfs::chainctl
