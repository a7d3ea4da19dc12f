// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_info.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/job_report.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/notes.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;

using InfoLine = std::function<std::string(std::string_view label, const std::string& value)>;

std::string BitmapLines(const json& info, const InfoLine& line) {
  std::string text;
  const auto bitmaps = info.find("bitmaps");
  if (bitmaps == info.end() || !bitmaps->is_array()) return text;
  for (const json& bitmap : *bitmaps) {
    const std::string problem = TextOf(bitmap, "problem");
    std::string what = FlagOf(bitmap, "enabled") ? "enabled" : "disabled";
    if (!problem.empty()) {
      what = "unusable: it has " + problem;
    } else if (FlagOf(bitmap, "inconsistent")) {
      what = "inconsistent: it was not stored, and can only be removed";
    } else if (bitmap.contains("dirty-bytes")) {
      what += fmt::format(", {} dirty", FormatSize(NumberOf(bitmap, "dirty-bytes")));
    }
    text += line("bitmap", fmt::format("{} ({} per bit), {}", TextOf(bitmap, "name"),
                                       FormatSize(NumberOf(bitmap, "granularity")), what));
  }
  return text;
}

Result<ExitCode> Info(const std::string& disk, const CommonOptions& common) {
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
  const uint64_t cluster_size = NumberOf(info, "cluster-size");
  text += line("cluster size",
               FlagOf(info, "extended-l2")
                   ? fmt::format("{}, in 32 parts (extended L2)", FormatSize(cluster_size))
                   : FormatSize(cluster_size));
  text += line("generation", std::to_string(NumberOf(info, "generation")));
  text += BitmapLines(info, line);
  if (const Result<std::vector<JobReport>> jobs = ReadJobs(path)) {
    for (const JobReport& job : *jobs) {
      if (job.concluded()) continue;
      text += line("job", fmt::format("{} {} {:.1f}%", job.id, job.status, job.percent()));
    }
  }
  Print(text);
  return ExitCode::kDone;
}

}  // namespace

VerbRow InfoVerb() {
  return {.name = "info",
          .help = "Show one disk",
          .examples = "chainctl info /mnt/images/vm1.raw\n",
          .sends = false,
          .remarks = false,
          .declare = [](CLI::App& verb) -> Action {
            auto disk = std::make_shared<std::string>();
            AddDisk(verb, *disk);
            return [disk](const CommonOptions& common) { return Info(*disk, common); };
          }};
}

}  // namespace chainfs::chainctl
