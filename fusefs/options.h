// SPDX-License-Identifier: Apache-2.0
//
// The command line of the daemon, made into values before anything is opened. It has the shape of
// every FUSE program (`chainfs [options] SOURCE... MOUNTPOINT`), so it serves as a mount helper:
// words that fstab and mount(8) add to `-o` are accepted, an unknown one is an error that names it.
//
// Paths come out absolute, because the daemon leaves the working directory.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "blocklayer/catalog/catalog.h"

namespace chainfs::fusefs {

struct Options {
  std::vector<SourceSpec> sources;
  std::vector<std::string> source_texts;  // as given, for `config` and the mount table
  std::string mountpoint;
  CatalogOptions catalog;  // read_only, directories, formats, depth, memory

  bool foreground = false;
  bool debug = false;
  std::string pid_file;  // empty: none
  std::string qmp;       // path of the QMP socket; empty: none

  bool allow_other = false;
  bool writeback_cache = false;
  bool direct_io = false;
  bool list_xattrs = false;
  bool sandbox = true;
  uint32_t max_layers = 0;  // of a chain; 0: no limit
  unsigned threads = 0;     // 0: chosen by the session
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  std::optional<gid_t> control_gid;
  mode_t umask = 022;
  std::vector<std::string> mount_words;  // for the kernel: noexec, noatime, context=...

  // Not empty for -h and -V: print this and leave.
  std::string print_and_exit;
};

// kInvalidArgument with the one line to print. `arguments` excludes the program's name.
Result<Options> ParseOptions(const std::vector<std::string>& arguments,
                             const std::string& working_directory);

}  // namespace chainfs::fusefs
