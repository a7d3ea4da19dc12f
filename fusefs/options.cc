// SPDX-License-Identifier: Apache-2.0
#include "fusefs/options.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <memory>
#include <ranges>

#include "blocklayer/base/text_values.h"
#include "blocklayer/base/version/version.h"
#include "blocklayer/formats/registry/format_registry.h"
#include "ctl/verbs/mount_options.h"
#include "fusefs/source_spec.h"

namespace chainfs::fusefs {
namespace {

constexpr std::string_view kSources = R"(
SOURCE is a directory (every image in it; new ones appear by themselves) or
[NAME=]IMAGE[,format=qcow2|raw]. The chain NAME is shown as MOUNTPOINT/NAME.raw.

Options of -o, separated by commas (\, is a literal comma):
)";

constexpr std::string_view kMore = R"(
A disk is never more readable or writable than its images, whatever uid=, gid= and umask= say.
Words of fstab (defaults, noauto, nofail, _netdev, noatime, x-...) are accepted; nosuid and
nodev always hold. Remounting with other options is not possible: unmount, then mount.

Examples:
  chainfs /srv/images /mnt/images                  every image of a directory
  chainfs vm1.qcow2 mnt                            one chain: mnt/vm1.raw
  chainfs disk=weird.img,format=qcow2 mnt          with a name and a format of your choice
  chainfs -o ro,allow_other /srv/images /mnt/ro    for everybody, and nothing is written
  chainctl umount mnt                              waits until all has been written

See chainfs(8), chainctl(1) and chainfs-xattrs(7).
)";

std::unexpected<Error> Bad(std::string message) {
  return Fail(ErrorKind::kInvalidArgument, std::move(message));
}

// "a,b=c\,d" -> "a", "b=c,d".
std::vector<std::string> SplitWords(std::string_view list) {
  std::vector<std::string> words(1);
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] == '\\' && i + 1 < list.size()) {
      words.back().push_back(list[++i]);
    } else if (list[i] == ',') {
      words.emplace_back();
    } else {
      words.back().push_back(list[i]);
    }
  }
  std::erase_if(words, [](const std::string& word) { return word.empty(); });
  return words;
}

Result<uint32_t> ParseId(const std::string& key, const std::string& value) {
  if (const std::optional<uint64_t> number = ParseNumber(value); number && *number < UINT32_MAX) {
    return static_cast<uint32_t>(*number);
  }
  if (key == "uid") {
    if (const passwd* user = ::getpwnam(value.c_str())) return user->pw_uid;
    return Bad(fmt::format("option {}={}: no such user", key, value));
  }
  if (const group* found = ::getgrnam(value.c_str())) return found->gr_gid;
  return Bad(fmt::format("option {}={}: no such group", key, value));
}

Result<ImageFormat> ParseFormat(const std::string& key, const std::string& value) {
  const std::optional<ImageFormat> format = ParseImageFormat(value);
  if (!format) {
    return Bad(fmt::format("option {}={}: no such format; chainfs knows {}", key, value,
                           FormatRegistry::BuiltIn().Names()));
  }
  return *format;
}

Result<uint64_t> ParseBounded(const std::string& key, const std::string& value, uint64_t least,
                              uint64_t most) {
  const std::optional<uint64_t> size = ParseSize(value);
  if (!size || *size < least || *size > most) {
    return Bad(fmt::format("option {}={}: not a number from {} to {}", key, value, least, most));
  }
  return *size;
}

Result<mode_t> ParseUmask(const std::string& value) {
  mode_t mask = 0;
  const char* const end = value.data() + value.size();
  const auto [stopped, error] = std::from_chars(value.data(), end, mask, 8);
  if (value.empty() || error != std::errc() || stopped != end || mask > 0777) {
    return Bad(fmt::format("option umask={}: not an octal number up to 777", value));
  }
  return mask;
}

using Setter = std::function<Status(Options&, const std::string& key, const std::string& value)>;

Status SetTrue(bool& option) {
  option = true;
  return {};
}

Setter IdSetter(std::optional<uint32_t> Options::* option) {
  return [option](Options& options, const std::string& key, const std::string& value) -> Status {
    CHAINFS_ASSIGN(options.*option, ParseId(key, value));
    return {};
  };
}

Setter DirectorySetter(std::vector<std::string> CatalogOptions::* directories) {
  return [directories](Options& options, const std::string&, const std::string& value) -> Status {
    (options.catalog.*directories).push_back(value);
    return {};
  };
}

Status SetOnOrOff(bool& option, const std::string& key, const std::string& value) {
  option = value == "on";
  if (option || value == "off") return {};
  return Bad(fmt::format("option {}={}: neither on nor off", key, value));
}

Status SetNumber(uint32_t& option, const std::string& key, const std::string& value, uint64_t least,
                 uint64_t most) {
  CHAINFS_ASSIGN(const uint64_t number, ParseBounded(key, value, least, most));
  option = static_cast<uint32_t>(number);
  return {};
}

constexpr uint64_t kLeastMemory = 1 << 20;
constexpr uint64_t kMostMemory = uint64_t{1} << 40;

// What each option of the table does that is meant for the daemon.
const std::map<std::string_view, Setter>& Setters() {
  using Text = const std::string&;
  static const std::map<std::string_view, Setter> setters = {
      {"ro", [](Options& o, Text, Text) { return SetTrue(o.catalog.read_only); }},
      {"rw",
       [](Options& o, Text, Text) -> Status {
         o.catalog.read_only = false;
         return {};
       }},
      {"allow_other", [](Options& o, Text, Text) { return SetTrue(o.allow_other); }},
      {"direct_io", [](Options& o, Text, Text) { return SetTrue(o.direct_io); }},
      {"writeback_cache", [](Options& o, Text, Text) { return SetTrue(o.writeback_cache); }},
      {"list_xattrs", [](Options& o, Text, Text) { return SetTrue(o.list_xattrs); }},
      {"uid", IdSetter(&Options::uid)},
      {"gid", IdSetter(&Options::gid)},
      {"control_gid", IdSetter(&Options::control_gid)},
      {"qmp",
       [](Options& o, Text, Text value) -> Status {
         o.qmp = value;
         return {};
       }},
      {"umask",
       [](Options& o, Text, Text value) -> Status {
         CHAINFS_ASSIGN(o.umask, ParseUmask(value));
         return {};
       }},
      {"backing_dir", DirectorySetter(&CatalogOptions::backing_dirs)},
      {"target_dir", DirectorySetter(&CatalogOptions::target_dirs)},
      {"sandbox",
       [](Options& o, Text key, Text value) { return SetOnOrOff(o.sandbox, key, value); }},
      {"data_dirs",
       [](Options& o, Text, Text value) -> Status {
         for (const auto part : std::views::split(value, ':')) {
           if (!part.empty()) o.catalog.data_dirs.emplace_back(part.begin(), part.end());
         }
         return {};
       }},
      {"assume_backing_format",
       [](Options& o, Text key, Text value) -> Status {
         CHAINFS_ASSIGN(o.catalog.assume_backing_format, ParseFormat(key, value));
         return {};
       }},
      {"max_depth",
       [](Options& o, Text key, Text value) {
         return SetNumber(o.catalog.max_depth, key, value, 1, 65536);
       }},
      {"max_layers", [](Options& o, Text key,
                        Text value) { return SetNumber(o.max_layers, key, value, 0, 65536); }},
      {"index_memory",
       [](Options& o, Text key, Text value) -> Status {
         CHAINFS_ASSIGN(o.catalog.memory.index_bytes,
                        ParseBounded(key, value, kLeastMemory, kMostMemory));
         return {};
       }},
      {"metadata_memory",
       [](Options& o, Text key, Text value) -> Status {
         CHAINFS_ASSIGN(o.catalog.memory.metadata_bytes,
                        ParseBounded(key, value, kLeastMemory, kMostMemory));
         return {};
       }},
      {"threads",
       [](Options& o, Text key, Text value) { return SetNumber(o.threads, key, value, 1, 1024); }},
  };
  return setters;
}

std::unexpected<Error> RefuseUnknownOption(const std::string& key) {
  if (key == "remount") {
    return Bad(
        "remounting is not supported; to change options, unmount (chainctl umount MOUNTPOINT) and "
        "mount again");
  }
  return Bad(fmt::format("unknown option -o {}; see chainfs --help", key));
}

Status ApplyWord(const std::string& word, Options* options) {
  const size_t equals = word.find('=');
  const std::string key = word.substr(0, equals);
  const bool has_value = equals != std::string::npos;
  const std::string value = has_value ? word.substr(equals + 1) : "";
  if (key.starts_with("x-") || key.starts_with("X-")) return {};
  const verbs::MountOption* const row = verbs::FindMountOption(key);
  if (row == nullptr) return RefuseUnknownOption(key);
  const bool ours = row->meant_for == verbs::OptionFor::kDaemon;
  if (has_value && row->value == verbs::OptionValue::kNone) {
    return Bad(fmt::format("option {} takes no value", key));
  }
  if (row->value == verbs::OptionValue::kRequired && (!has_value || (ours && value.empty()))) {
    return Bad(fmt::format("option {} needs a value", key));
  }
  if (ours) {
    const auto setter = Setters().find(key);
    return setter == Setters().end() ? RefuseUnknownOption(key)
                                     : setter->second(*options, key, value);
  }
  if (row->meant_for == verbs::OptionFor::kKernel) options->mount_words.push_back(word);
  return {};
}

struct CommandLine {
  std::vector<std::string> paths;
  std::vector<std::string> option_lists;
  bool single_thread = false;
  bool version = false;
};

class Help : public CLI::Formatter {
 public:
  std::string make_usage(const CLI::App* /*app*/, std::string /*name*/) const override {
    return "Usage: chainfs [OPTIONS] SOURCE... MOUNTPOINT\n";
  }
};

void Describe(CLI::App* app, CommandLine* line, Options* options) {
  app->name("chainfs");
  app->footer(fmt::format("{}{}{}", kSources, verbs::MountOptionsHelp(), kMore));
  app->formatter(std::make_shared<Help>());
  app->set_help_flag("-h,--help", "Print this help and exit");
  app->add_flag("-V,--version", line->version, "Print the version and exit");
  app->add_flag("-f,--foreground", options->foreground, "Stay in the foreground");
  app->add_flag("-d,--debug", options->debug, "Log every request; implies -f");
  app->add_flag("-s,--single-thread", line->single_thread, "Serve one request at a time");
  app->add_option("-o", line->option_lists, "Mount options, see below")
      ->allow_extra_args(false)
      ->option_text("OPTION[,OPTION...]");
  app->add_option("--pid-file", options->pid_file,
                  "Write the process id here once the mount serves")
      ->option_text("FILE");
  app->add_option("paths", line->paths, "Images or directories, and where to show them")
      ->option_text("SOURCE... MOUNTPOINT");
}

}  // namespace

Result<Options> ParseOptions(const std::vector<std::string>& arguments,
                             const std::string& working_directory) {
  Options options;
  CommandLine line;
  CLI::App app("Presents chains of disk images as flat raw files");
  Describe(&app, &line, &options);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    options.print_and_exit = app.help();
    return options;
  } catch (const CLI::ParseError& error) {
    return Bad(error.what());
  }
  if (line.version) {
    options.print_and_exit = fmt::format("chainfs {}\n", Version());
    return options;
  }
  for (const std::string& list : line.option_lists) {
    for (const std::string& word : SplitWords(list)) CHAINFS_TRY(ApplyWord(word, &options));
  }
  if (line.paths.size() < 2) {
    return Bad("usage: chainfs [options] SOURCE... MOUNTPOINT; see chainfs --help");
  }
  options.foreground |= options.debug;
  if (line.single_thread) options.threads = 1;
  options.mountpoint = AbsolutePath(line.paths.back(), working_directory);
  line.paths.pop_back();
  for (const std::string& path : line.paths) {
    CHAINFS_ASSIGN(SourceSpec source, ParseSource(path, working_directory));
    options.sources.push_back(std::move(source));
  }
  options.source_texts = std::move(line.paths);
  for (std::vector<std::string>* const directories :
       {&options.catalog.backing_dirs, &options.catalog.target_dirs, &options.catalog.data_dirs}) {
    for (std::string& path : *directories) path = AbsolutePath(path, working_directory);
  }
  if (!options.qmp.empty()) options.qmp = AbsolutePath(options.qmp, working_directory);
  if (!options.pid_file.empty()) {
    options.pid_file = AbsolutePath(options.pid_file, working_directory);
  }
  return options;
}

}  // namespace chainfs::fusefs
