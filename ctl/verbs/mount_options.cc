// SPDX-License-Identifier: Apache-2.0
#include "ctl/verbs/mount_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace chainfs::verbs {
namespace {

constexpr MountOption Switch(std::string_view name, std::string_view help) {
  return {name, OptionFor::kDaemon, OptionValue::kNone, {}, help, {}, false};
}

constexpr MountOption Setting(std::string_view name, std::string_view value_name,
                              std::string_view help, std::string_view otherwise) {
  return {name, OptionFor::kDaemon, OptionValue::kRequired, value_name, help, otherwise, false};
}

constexpr MountOption Kernel(std::string_view name, OptionValue value = OptionValue::kNone) {
  return {name, OptionFor::kKernel, value, {}, {}, {}, false};
}

constexpr MountOption Ignored(std::string_view name, OptionValue value = OptionValue::kNone) {
  return {name, OptionFor::kNobody, value, {}, {}, {}, false};
}

// There are no access times to keep, no symbolic links to follow and no mandatory locks here.
constexpr std::array kOptions = {
    Switch("ro", "Never write to any layer; commands are refused, too"),
    Switch("rw", "Write where the images permit it (the default)"),
    Switch("allow_other", "Allow other users (see user_allow_other in /etc/fuse.conf)"),
    Setting("uid", "USER", "Owner of the files shown", "the mounting user"),
    Setting("gid", "GROUP", "Group of the files shown", "the mounting user's"),
    Setting("umask", "OCTAL", "Bits taken from 0666 and 0444", "022"),
    MountOption{"backing_dir",
                OptionFor::kDaemon,
                OptionValue::kRequired,
                "DIR",
                "Backing files may also lie here; may be repeated",
                {},
                true},
    MountOption{"target_dir",
                OptionFor::kDaemon,
                OptionValue::kRequired,
                "DIR",
                "Commands of root may put files here, too; may be repeated",
                {},
                true},
    Setting("sandbox", "on|off", "Confine the daemon to its directories and system calls", "on"),
    MountOption{"data_dirs", OptionFor::kDaemon, OptionValue::kRequired, "DIR[:DIR...]",
                "External data files of qcow2 images may lie here", "nowhere", true},
    Setting("assume_backing_format", "FORMAT",
            "For image headers that name none, such as qcow2 or raw", ""),
    Setting("max_depth", "N", "Refuse chains of more layers", "1024"),
    Setting("max_layers", "N", "Keep chains at N layers by merging their oldest", "no limit"),
    Setting("index_memory", "SIZE", "Memory for merged indexes of lower layers", "64M"),
    Setting("metadata_memory", "SIZE", "Memory for qcow2 tables", "64M"),
    Switch("direct_io", "Bypass the kernel's page cache for every opener"),
    Switch("writeback_cache", "Let the kernel collect writes; what a crash may lose is larger"),
    Setting("threads", "N", "Serve at most N requests at once", "by the number of CPUs"),
    Setting("control_gid", "GROUP", "Its members may give commands and read MOUNTPOINT/.chainfs",
            ""),
    Setting("qmp", "PATH", "Serve QEMU's control protocol on a UNIX socket there", ""),
    Switch("list_xattrs", "Show the status attributes to listxattr"),
    Kernel("noexec"),
    Kernel("noatime"),
    Kernel("sync"),
    Kernel("dirsync"),
    Kernel("context", OptionValue::kRequired),  // these four are SELinux's
    Kernel("fscontext", OptionValue::kRequired),
    Kernel("defcontext", OptionValue::kRequired),
    Kernel("rootcontext", OptionValue::kRequired),
    Ignored("defaults"),
    Ignored("auto"),
    Ignored("noauto"),
    Ignored("user", OptionValue::kOptional),
    Ignored("nouser"),
    Ignored("users"),
    Ignored("nousers"),
    Ignored("owner"),
    Ignored("noowner"),
    Ignored("group"),
    Ignored("nogroup"),
    Ignored("nofail"),
    Ignored("_netdev"),
    Ignored("dev"),
    Ignored("nodev"),
    Ignored("suid"),
    Ignored("nosuid"),
    Ignored("exec"),
    Ignored("atime"),
    Ignored("diratime"),
    Ignored("nodiratime"),
    Ignored("relatime"),
    Ignored("norelatime"),
    Ignored("strictatime"),
    Ignored("nostrictatime"),
    Ignored("lazytime"),
    Ignored("nolazytime"),
    Ignored("async"),
    Ignored("symfollow"),
    Ignored("nosymfollow"),
    Ignored("loud"),
    Ignored("silent"),
    Ignored("mand"),
    Ignored("nomand"),
    Ignored("iversion"),
    Ignored("noiversion"),
    Ignored("default_permissions"),
    Ignored("nonempty"),
    Ignored("comment", OptionValue::kOptional),
    Ignored("uhelper", OptionValue::kRequired),
    Ignored("helper", OptionValue::kRequired),
};

}  // namespace

std::span<const MountOption> MountOptions() { return kOptions; }

const MountOption* FindMountOption(std::string_view name) {
  const auto found = std::ranges::find(kOptions, name, &MountOption::name);
  return found == kOptions.end() ? nullptr : &*found;
}

std::string MountOptionsHelp() {
  std::string text;
  for (const MountOption& option : kOptions) {
    if (option.meant_for != OptionFor::kDaemon) continue;
    const std::string word = option.value_name.empty()
                                 ? std::string(option.name)
                                 : fmt::format("{}={}", option.name, option.value_name);
    const std::string otherwise =
        option.otherwise.empty() ? "" : fmt::format(" (default: {})", option.otherwise);
    text += fmt::format("  {:<28} {}{}\n", word, option.help, otherwise);
  }
  return text;
}

}  // namespace chainfs::verbs
