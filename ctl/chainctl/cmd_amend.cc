// SPDX-License-Identifier: Apache-2.0
#include "ctl/chainctl/cmd_amend.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "blocklayer/formats/qcow2/amend.h"
#include "blocklayer/io/posix.h"
#include "ctl/chainctl/json_access.h"
#include "ctl/chainctl/key_options.h"
#include "ctl/chainctl/output.h"

namespace chainfs::chainctl {
namespace {

constexpr uint64_t kAmendCacheBytes = 8 << 20;

struct AmendOptions {
  std::string image;
  std::vector<std::string> format_options = {};  // KEY=VALUE[,KEY=VALUE]
};

// Those of the options of a new image that can be changed later.
std::vector<verbs::Key> AmendableKeys() {
  std::vector<verbs::Key> keys;
  for (verbs::Key key : verbs::FormatKeys()) {
    if (key.name != "compat" && key.name != "lazy_refcounts") continue;
    key.otherwise = "as it is";
    keys.push_back(key);
  }
  return keys;
}

Result<Qcow2AmendOptions> Wanted(const AmendOptions& options) {
  const std::vector<verbs::Key> keys = AmendableKeys();
  CHAINFS_ASSIGN(const verbs::Arguments arguments,
                 FormatOptionsAsSent(options.format_options, keys));
  Qcow2AmendOptions wanted;
  if (const std::optional<std::string> compat = arguments.Text("compat")) {
    wanted.version = *compat == "0.10" || *compat == "v2" ? 2 : 3;
  }
  if (arguments.Has("lazy_refcounts")) {
    CHAINFS_ASSIGN(wanted.lazy_refcounts, arguments.Switch("lazy_refcounts", false));
  }
  if (wanted.version || wanted.lazy_refcounts) return wanted;
  return Fail(ErrorKind::kInvalidArgument,
              fmt::format("-o is missing: what to change, of {}", verbs::KeyNames(keys)));
}

Result<std::unique_ptr<File>> OpenLocked(const std::string& image) {
  const std::filesystem::path path(image);
  const std::string directory = path.parent_path().string();
  CHAINFS_ASSIGN(const auto holder, OpenPosixDirectory(directory.empty() ? "." : directory));
  CHAINFS_ASSIGN(std::unique_ptr<File> file,
                 holder->Open(path.filename().string(), OpenMode::kReadWrite));
  CHAINFS_TRY(file->SetImageLocks(kActiveLayerLocks));
  return file;
}

Result<ExitCode> Amend(const AmendOptions& options, const CommonOptions& common) {
  CHAINFS_ASSIGN(const Qcow2AmendOptions wanted, Wanted(options));
  CHAINFS_ASSIGN(std::unique_ptr<File> file, OpenLocked(options.image));
  MetadataCache cache(kAmendCacheBytes);
  CHAINFS_TRY(AmendQcow2(std::move(file), cache, wanted));
  if (common.json) {
    Print(OneLine({{"filename", options.image}}) + "\n");
  } else if (!common.quiet) {
    Print(fmt::format("{}: amended\n", SafeText(options.image)));
  }
  return ExitCode::kDone;
}

}  // namespace

VerbRow AmendVerb() {
  return {.name = "amend",
          .help = "Change the options of a qcow2 image that is not in use",
          .examples = "chainctl amend -o compat=1.1,lazy_refcounts=off vm1.qcow2\n",
          .sends = false,
          .remarks = true,
          .declare = [](CLI::App& verb) -> Action {
            auto options = std::make_shared<AmendOptions>();
            verb.add_option("IMAGE", options->image, "File to change")->required();
            AddFormatOptions(verb, AmendableKeys(), options->format_options);
            return [options](const CommonOptions& common) { return Amend(*options, common); };
          }};
}

}  // namespace chainfs::chainctl
