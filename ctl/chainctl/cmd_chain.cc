// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_chain.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "ctl/chainctl/client.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"
#include "ctl/chainctl/size.h"

namespace chainfs::chainctl {
namespace {

using nlohmann::json;
using Align = Table::Align;

Result<ExitCode> ShowChain(const std::string& disk, const CommonOptions& common) {
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

}  // namespace

VerbRow ChainVerb() {
  return {.name = "chain",
          .help = "Show the layers of a disk, active layer first",
          .examples =
              "chainctl chain /mnt/images/vm1.raw\n"
              "chainctl chain --json vm1.raw | jq -r '.[].filename'\n",
          .sends = false,
          .remarks = false,
          .declare = [](CLI::App& verb) -> Action {
            auto disk = std::make_shared<std::string>();
            AddDisk(verb, *disk);
            return [disk](const CommonOptions& common) { return ShowChain(*disk, common); };
          }};
}

}  // namespace chainfs::chainctl
